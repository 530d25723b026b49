"""One reading of a prompt for all its answers, and what a batch does to the answers in it: nothing."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from tests.tiny import SHARING, tiny_model
from truenorth.online.decoding import Batch, Mixed, decode, padded, shared, shares
from truenorth.online.draws import uniforms
from truenorth.online.sampler import batches
from truenorth.online.sampling import Sampling
from truenorth.online.stops import Stops

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13], [9], [14, 3, 20, 7]]
OWNER = [0, 0, 0, 1, 1, 2, 2, 2]


def batch(sampling: Sampling, *, ends: frozenset[int] = frozenset({2})) -> Batch:
    places = [(i, n - OWNER.index(i)) for n, i in enumerate(OWNER)]
    draws = torch.stack([uniforms(PROMPTS[i], j, sampling) for i, j in places])
    return Batch(PROMPTS, OWNER, draws, lambda tokens: tokens[-1] in ends)


def tokens(drawn: list[tuple[list[int], list[float]]]) -> list[list[int]]:
    return [own for own, _ in drawn]


@pytest.mark.parametrize("architecture", [*SHARING, "falcon", "bloom", "mamba"])
def test_a_prompt_read_once_gives_what_a_prompt_read_for_each_answer_gives(architecture: str) -> None:
    model, sampling = tiny_model(architecture), Sampling(max_new_tokens=12, seed=2)
    with torch.inference_mode():
        alone = padded(model, batch(sampling), sampling)
    assert tokens(decode(model, batch(sampling), sampling)) == tokens(alone)
    assert shares(model) or architecture not in SHARING


@pytest.mark.parametrize("architecture", ["mamba", "qwen3_next", "bloom"])
def test_a_model_whose_cache_cannot_be_split_is_left_to_generate(architecture: str) -> None:
    assert not shares(tiny_model(architecture))


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "mamba"])
def test_log_probs_are_those_of_the_distribution_drawn_from(architecture: str) -> None:
    model, sampling = tiny_model(architecture), Sampling(max_new_tokens=6, temperature=0.7, top_p=0.8)
    for (new, nats), i in zip(decode(model, batch(sampling), sampling), OWNER, strict=True):
        logits = model(input_ids=torch.tensor([PROMPTS[i] + new])).logits[0, len(PROMPTS[i]) - 1 : -1]
        probabilities = (logits / 0.7).softmax(-1)
        ordered, order = probabilities.sort(dim=-1, descending=True)
        kept = ordered * (ordered.cumsum(-1) - ordered < 0.8)
        expected = (kept / kept.sum(-1, keepdim=True)).gather(
            1, (order == torch.tensor(new)[:, None]).int().argmax(1, True)
        )
        assert torch.allclose(torch.tensor(nats), expected[:, 0].log(), atol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "gpt_neo", "falcon", "mamba", "qwen3_next"])
def test_each_token_of_a_mixture_is_drawn_from_the_geometric_mean_of_both(architecture: str) -> None:
    first, second = tiny_model(architecture), tiny_model(architecture, seed=1)
    sampling, mixed = Sampling(max_new_tokens=6), Mixed(second, share=0.3)
    for (new, nats), i in zip(decode(first, batch(sampling), sampling, mixed), OWNER, strict=True):
        asked = torch.tensor([PROMPTS[i] + new])
        ours, theirs = (
            model(input_ids=asked).logits[0, len(PROMPTS[i]) - 1 : -1].log_softmax(-1) for model in (first, second)
        )
        expected = (0.7 * ours + 0.3 * theirs).log_softmax(-1).gather(1, torch.tensor(new)[:, None])[:, 0]
        assert torch.allclose(torch.tensor(nats), expected, atol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "mamba"])
def test_a_mixture_is_at_its_ends_one_of_the_models_to_the_bit(architecture: str) -> None:
    first, second = tiny_model(architecture), tiny_model(architecture, seed=1)
    sampling = Sampling(max_new_tokens=12, seed=2)
    for share, alone in ((0.0, first), (1.0, second)):
        assert decode(first, batch(sampling), sampling, Mixed(second, share)) == decode(
            alone, batch(sampling), sampling
        )


def test_a_mixture_reads_a_prompt_once_for_each_model() -> None:
    first, second = tiny_model(), tiny_model(seed=1)
    counted, sampling = [Counted(first), Counted(second)], Sampling(max_new_tokens=10)
    decode(first, batch(sampling), sampling, Mixed(second, 0.5))
    assert counted[0].passes == counted[1].passes
    assert counted[0].passes[0] == (3, 9)


class Counted:
    """Notes how many rows and tokens each forward pass of a model has."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.passes: list[tuple[int, ...]] = []
        model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, _: object, __: object, given: dict[str, Any]) -> None:
        self.passes.append(tuple(given["input_ids"].shape))


def test_a_prompt_is_read_once_and_ended_answers_leave() -> None:
    model, sampling = tiny_model(), Sampling(max_new_tokens=40)
    counted = Counted(model)
    with torch.inference_mode():
        drawn = shared(model, batch(sampling, ends=frozenset(range(2, 12))), sampling)
    assert counted.passes[0] == (3, 9)
    rows = [rows for rows, _ in counted.passes[1:]]
    longest = max(len(own) for own, _ in drawn)
    assert rows == sorted(rows, reverse=True)
    assert len(rows) == longest - 1
    assert rows[-1] < len(OWNER)


def test_batches_hold_each_answer_once_the_longest_first_and_within_bounds() -> None:
    lengths, sampling = [5, 40, 3, 40, 11], Sampling(k=3, max_new_tokens=10)
    made = list(batches(lengths, sampling, most=120))
    assert sorted(place for one in made for place in one) == [(i, j) for i in range(5) for j in range(3)]
    assert [lengths[i] for one in made for i, _ in one] == sorted([n for n in lengths for _ in range(3)], reverse=True)
    assert all(len(one) * (max(lengths[i] for i, _ in one) + 10) <= 120 for one in made)


class Words:
    """A tokenizer of letters: token 3 is a, 4 is b, and so on; 2 ends."""

    eos_token_id, bos_token_id, chat_template = 2, None, None

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(chr(94 + i) for i in ids if i > 2)


def stops(*texts: str) -> Stops:
    return Stops(Words(), frozenset({2}), texts)  # pyright: ignore[reportArgumentType]


def test_an_answer_ends_with_the_token_that_completes_a_stop_text() -> None:
    spelt = [3, 4, 5, 6, 7]  # abcde
    assert [stops("cd").ended(spelt[:n]) for n in range(1, 6)] == [False, False, False, True, True]
    assert not any(stops("x").ended(spelt[:n]) for n in range(1, 6))


def test_text_ends_before_the_first_stop_text_and_tokens_with_it() -> None:
    answer = stops("d", "cd").response([3, 4, 5, 6, 7], [-1.0, -2.0, -3.0, -4.0, -5.0])
    assert (answer.text, answer.tokens, answer.ended) == ("ab", (3, 4, 5, 6), True)
    assert answer.log_probs == (-1.0, -2.0, -3.0, -4.0)


def test_an_answer_without_its_stop_text_is_cut_off_or_ended_by_the_model() -> None:
    assert [stops("x").response(ids, [0.0, 0.0]).ended for ids in ([3, 4], [3, 2])] == [False, True]
