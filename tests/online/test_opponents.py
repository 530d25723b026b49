"""Answers of an opponent beside the policy's: where they stand, what they are, and what training takes of them."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests.tiny import tiny_model
from truenorth import world
from truenorth.data.chat import Encoder
from truenorth.errors import DataError
from truenorth.judge import Wins
from truenorth.online.decoding import Mixed
from truenorth.online.opponents import Opposed, check_opponents
from truenorth.online.round_file import RoundRow
from truenorth.online.round_steps import tokenized
from truenorth.online.sampler import Local
from truenorth.online.sampling import Response, Sampling, sample
from truenorth.recipe import Opponent

PROMPTS = ["What of it?", "Say more, please, of all that you know.", "No."]
SAMPLING = Sampling(k=3, max_new_tokens=6, seed=1)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(world.sft_model())


def answers(tokenizer: PreTrainedTokenizerBase, share: float, *, count: int = 2) -> list[list[Response]]:
    size = len(tokenizer)
    policy, other = (Local(tiny_model(vocab_size=size, seed=seed), tokenizer) for seed in (0, 1))
    opposed = Opposed(policy, Mixed(other.model, share), count)
    return sample(opposed, PROMPTS, SAMPLING, round_index=2)


def drawn(found: list[list[Response]]) -> list[list[tuple[int, ...]]]:
    """The tokens; log-probs differ by rounding with what else is in a batch."""
    return [[answer.tokens for answer in own] for own in found]


def test_without_a_share_of_the_reference_the_opponents_answers_are_further_ones_of_the_policy(tokenizer) -> None:
    policy = Local(tiny_model(vocab_size=len(tokenizer)), tokenizer)
    assert drawn(answers(tokenizer, 0.0)) == drawn(sample(policy, PROMPTS, SAMPLING, round_index=2))


def test_with_all_of_it_they_are_the_references(tokenizer) -> None:
    reference = Local(tiny_model(vocab_size=len(tokenizer), seed=1), tokenizer)
    alone = drawn(sample(reference, PROMPTS, SAMPLING, round_index=2))
    found, policys = (drawn(answers(tokenizer, share)) for share in (1.0, 0.0))
    assert [own[1:] for own in found] == [own[1:] for own in alone]
    assert [own[:1] for own in found] == [own[:1] for own in policys]
    assert found != policys


def test_a_sampler_that_goes_on_after_a_kill_gives_the_same_bits(tokenizer) -> None:
    whole = answers(tokenizer, 0.25)
    policy = Local(tiny_model(vocab_size=len(tokenizer)), tokenizer)
    opposed = Opposed(policy, Mixed(tiny_model(vocab_size=len(tokenizer), seed=1), 0.25), 2)
    rest = dict(opposed.answers(PROMPTS, SAMPLING, round_index=2, done=[1]))
    assert rest == {0: whole[0], 2: whole[2]}


def row(opponents: int | None) -> RoundRow:
    wins = Wins(((0.5, 0.75, 1.0, 0.5), (0.25, 0.5, 0.5, 0.25), (0.0, 0.5, 0.5, 0.5), (0.5, 0.75, 0.5, 0.5)))
    tokens = ((5, 6), (7,), (8, 9), (4,))
    texts = ("a", "b", "c", "d")
    return RoundRow.judged(wins, prompt="?", responses=texts, place=0, tokens=tokens, opponents=opponents)


def test_the_policys_answers_are_trained_on_with_their_wins_against_the_opponents(tokenizer) -> None:
    (made,), _ = tokenized([row(2)], Encoder(tokenizer), pairing="none", ties="drop")
    assert made.scores == (0.75, 0.375)
    assert [tokens.tolist() for tokens in made.responses] == [[5, 6], [7]]
    assert made.wins == ((0.5, 0.75), (0.25, 0.5))


def test_rows_without_an_opponents_answers_are_refused_where_there_must_be_some() -> None:
    check_opponents([row(2)], Opponent(2, "initial", 0.25), Path("rows.jsonl"))
    check_opponents([row(None)], None, Path("rows.jsonl"))
    with pytest.raises(DataError, match=r"rows\.jsonl, the row of '\?': no answer in it is the opponent's"):
        check_opponents([row(None)], Opponent(2, "initial", 0.25), Path("rows.jsonl"))
