"""The rows of rounds: who is asked, what is written, what a kill costs, and what the steps take of them."""

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from transformers import AutoTokenizer

from truenorth import world
from truenorth.data.chat import Encoder
from truenorth.data.prepare import DataSettings, Needs, prepare
from truenorth.data.tokens import Ints, TokenizedRows
from truenorth.errors import DataError, SamplerError
from truenorth.judge import Failed, Rewards, Verdict, Wins
from truenorth.online.contents import Contents
from truenorth.online.round_file import RoundFile, RoundRow
from truenorth.online.round_steps import RoundSteps, as_large_as_any, rows_per_prompt, tokenized
from truenorth.online.rounds import JUDGED_AT_ONCE, Play
from truenorth.online.sampling import Response, Sampling
from truenorth.processes import Group
from truenorth.schedule import Rounds

PROMPTS = [f"Say {n}." for n in range(40)]


class Echo:
    """Answers with the prompt, the round and the place; `broken` prompts get none."""

    remote: ClassVar[bool] = False

    def __init__(self, broken: Sequence[str] = (), *, calls: list[str] | None = None) -> None:
        self.broken, self.calls = broken, [] if calls is None else calls

    def answers(
        self, prompts: Sequence[Any], sampling: Sampling, *, round_index: int = 0, done: Collection[int] = ()
    ) -> Iterator[tuple[int, list[Response]]]:
        for i, prompt in enumerate(prompts):
            if i not in done and prompt not in self.broken:
                self.calls.append(prompt)
                words = [f"{prompt} {round_index} {j}" for j in range(sampling.k)]
                yield i, [Response(text, (5, 6, 7 + j), ended=True) for j, text in enumerate(words)]
        if self.broken:
            raise SamplerError("the server is gone", [i for i, prompt in enumerate(prompts) if prompt in self.broken])

    def hand_over(self, folder: Path, *, round_index: int) -> None: ...


class Remote(Echo):
    """The same, elsewhere."""

    remote: ClassVar[bool] = True


class OneOf(Group):
    """One of several processes, of which the others say nothing."""

    def gather(self, value: Any) -> list[Any]:
        return [value]


def last_digit(prompts: Sequence[Any], answers: Sequence[Sequence[str]]) -> list[Verdict]:
    """The last answer is best; nothing is said of prompts with a 7."""
    return [
        Failed("I do not like sevens") if "7" in prompt else Rewards(tuple(float(text[-1]) for text in texts))
        for prompt, texts in zip(prompts, answers, strict=True)
    ]


def play(folder: Path, sampler: Echo | None = None, **changes: Any) -> Play:
    schedule = Rounds(k=3, **changes)
    count = schedule.prompts_of(len(PROMPTS), batch_size=8)
    return Play(schedule, Contents(PROMPTS), count, sampler or Echo(), last_digit, folder, 0, nullcontext)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(AutoTokenizer.from_pretrained(world.sft_model()))


def test_a_round_asks_each_prompt_once_and_says_which_had_no_verdict(tmp_path: Path) -> None:
    file = play(tmp_path).round(0)
    rows = file.rows()
    assert sorted(str(row.prompt) for row in rows) == sorted(prompt for prompt in PROMPTS if "7" not in prompt)
    assert len(file.left_out) == 4
    assert set(file.left_out.values()) == {"I do not like sevens"}
    assert all(row.scores == (0.0, 1.0, 2.0) for row in rows)
    assert rows[0].made["round"] == 1
    assert rows[0].made["seed"] == 0


def test_prompts_are_taken_in_turn_and_all_of_them_before_one_comes_again(tmp_path: Path) -> None:
    made = play(tmp_path, prompts=16)
    first = [place for number in range(5) for place in made.places(number)]
    assert sorted(first[:40]) == list(range(40))
    assert sorted(first[40:]) == sorted(set(first[40:]))
    assert first[:40] != first[40:]


@pytest.mark.parametrize("cut", range(0, 2200, 311))
def test_a_round_that_is_cut_anywhere_is_gone_on_with_to_the_same_rows(cut: int, tmp_path: Path) -> None:
    whole = play(tmp_path / "whole").round(0)
    folder = tmp_path / "cut" / "0001"
    folder.mkdir(parents=True)
    text, log = (file.read_bytes() for file in (whole.rows_file, whole.log))
    named = log.splitlines(keepends=True)[0] if cut > len(text) // 2 else b""
    (folder / "rows.jsonl").write_bytes(text[:cut] if not named else text)
    (folder / "log.jsonl").write_bytes(named + log[len(named) : len(named) + 20])
    calls: list[str] = []
    again = play(tmp_path / "cut", Echo(calls=calls)).round(0)
    assert again.rows() == whole.rows()
    assert again.rows_file.read_bytes() == text
    assert again.left_out == whole.left_out
    assert len(calls) == len(PROMPTS) - JUDGED_AT_ONCE * bool(named)
    assert RoundFile.open(folder).done == whole.done


def test_a_sampler_that_fails_loses_nothing(tmp_path: Path) -> None:
    with pytest.raises(SamplerError, match="the server is gone"):
        play(tmp_path, Echo(broken=["Say 3.", "Say 4."])).round(0)
    calls: list[str] = []
    file = play(tmp_path, Echo(calls=calls)).round(0)
    assert sorted(calls) == ["Say 3.", "Say 4."]
    assert len(file.rows()) == len(PROMPTS) - 4


def test_one_of_several_processes_asks_a_server_for_all(tmp_path: Path) -> None:
    handed = list[int]()
    for rank, asked in ((0, len(PROMPTS)), (1, 0)):
        calls: list[str] = []
        folder = tmp_path / str(rank)
        made = replace(play(folder, Remote(calls=calls)), group=OneOf(rank, 2), hand_over=handed.append)
        made.round(0)
        assert len(calls) == asked
    assert handed == [0]


def test_a_round_whose_answers_are_there_needs_no_policy_handed_over(tmp_path: Path) -> None:
    play(tmp_path).round(0)
    handed = list[int]()
    replace(play(tmp_path, Remote()), hand_over=handed.append).round(0)
    assert handed == []


def test_an_answer_known_as_text_that_was_cut_off_is_not_taught_to_end(encoder: Encoder) -> None:
    decoded = AutoTokenizer.from_pretrained(world.sft_model()).decode
    messages = [{"role": "user", "content": "Hello?"}]
    for prompt in ("Hello?", messages):
        texts = ("Yes, of", "Yes, of")
        row = RoundRow.judged(Rewards((1.0, 0.0)), prompt=prompt, responses=texts, place=0, ended=(False, True))
        rows, _ = tokenized([row], encoder, pairing="none", ties="keep")
        cut, whole = rows[0].responses
        assert len(cut) == len(whole) - 1
        assert decoded(cut) == "Yes, of"


def test_rows_made_elsewhere_are_taken_as_they_are(tmp_path: Path, encoder: Encoder) -> None:
    folder = tmp_path / "0001"
    folder.mkdir()
    lines = [
        {"prompt": [{"role": "user", "content": "Hello?"}], "responses": ["Yes.", "No."], "scores": [0.0, 1.0]},
        {"prompt": "Hello?", "responses": ["Yes.", "No."], "wins": [[0.5, 0.75], [0.25, 0.5]]},
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    calls: list[str] = []
    rows = play(tmp_path, Echo(calls=calls)).round(0).rows()
    assert not calls
    assert [row.scores for row in rows] == [(0.0, 1.0), (0.75, 0.25)]
    made, empty = tokenized(rows, encoder, pairing="best_vs_worst", ties="drop")
    assert empty == 0
    chosen = encoder.encode_texts("Hello?", ["Yes.", "No."])
    assert [token.tolist() for token in made[1].responses] == [token.tolist() for token in chosen.responses]
    assert made[0].scores == (1.0, 0.0)


def test_rows_made_elsewhere_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "0001").mkdir()
    (tmp_path / "0001" / "rows.jsonl").write_text('{"prompt": "a", "responses": ["b", "c"], "scores": [1.0]}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl, row 1: needs .*as many verdicts"):
        play(tmp_path).round(0).rows()


def test_a_rounds_rows_are_data_like_any_other(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.sft_model())
    file = play(tmp_path).round(0)
    settings = DataSettings(needs=Needs(candidates=(2, None), rewards=True), max_problem_share=0.1)
    found = prepare([(str(file.rows_file), 1.0)], tokenizer, settings=settings, cache=tmp_path / "cache")
    assert len(found.rows) == len(file.rows())
    assert found.rows[0].scores == (2.0, 1.0, 0.0)


def test_wins_and_rewards_each_stand_for_the_other(tmp_path: Path) -> None:
    def cycle(prompts: Sequence[Any], answers: Sequence[Sequence[str]]) -> list[Verdict]:
        del answers
        return [Wins(((0.5, 0.9, 0.1), (0.1, 0.5, 0.9), (0.9, 0.1, 0.5)))] * len(prompts)

    made = play(tmp_path)
    rows = Play(made.schedule, made.contents, 4, Echo(), cycle, tmp_path, 0, nullcontext).round(0).rows()
    assert rows[0].scores == pytest.approx((0.5, 0.5, 0.5))
    scored = play(tmp_path / "scored").round(0).rows()
    assert scored[0].wins[1][0] == pytest.approx(1 / (1 + 2.718281828459045**-1))


def test_answers_of_one_score_make_no_pair_unless_wanted(tmp_path: Path, encoder: Encoder) -> None:
    def even(prompts: Sequence[Any], answers: Sequence[Sequence[str]]) -> list[Verdict]:
        return [Rewards((0.0,) * len(answers[0]))] * len(prompts)

    made = play(tmp_path)
    rows = Play(made.schedule, made.contents, 4, Echo(), even, tmp_path, 0, nullcontext).round(0).rows()
    assert tokenized(rows, encoder, pairing="best_vs_worst", ties="drop")[1] == 4
    kept, empty = tokenized(rows, encoder, pairing="all_pairs", ties="keep")
    assert (len(kept), empty) == (12, 0)
    assert len(tokenized(rows, encoder, pairing="none", ties="drop")[0]) == 4


def test_best_comes_first_with_its_tokens_and_wins(tmp_path: Path, encoder: Encoder) -> None:
    rows = play(tmp_path).round(0).rows()
    made, _ = tokenized(rows, encoder, pairing="none", ties="drop")
    assert [token.tolist() for token in made[0].responses] == [[5, 6, 9], [5, 6, 8], [5, 6, 7]]
    assert made[0].scores == (2.0, 1.0, 0.0)
    assert made[0].wins is not None
    assert made[0].wins[0][2] == max(map(max, made[0].wins))


def steps_of(rows: int, **changes: Any) -> RoundSteps:
    schedule = Rounds(k=2, rounds=2, **changes)
    made = as_large_as_any([prompt_of(n) for n in range(rows)], answers=2, tokens=3)
    return RoundSteps(schedule, lambda _: made, rows=10, batch_size=4, seed=0)


def prompt_of(n: int) -> Ints:
    return np.array([n + 3, 4], np.int32)


@pytest.mark.parametrize("rows", [10, 9, 4, 2, 1])
@pytest.mark.parametrize("epochs", [1, 3])
def test_every_row_is_taken_as_often_and_no_step_is_empty(rows: int, epochs: int) -> None:
    steps = steps_of(rows, epochs=epochs)
    assert steps.per_round == -(-10 * epochs // 4)
    taken = [steps.indices(step) for step in range(steps.per_round)]
    assert all(taken)
    counts = {row: sum(step.count(row) for step in taken) for row in range(rows)}
    assert len(set(counts.values())) == 1
    if rows * epochs >= steps.per_round:
        assert set(counts.values()) == {epochs}


def test_rounds_are_opened_when_their_first_step_is_taken_and_not_again() -> None:
    opened: list[int] = []

    def make(number: int) -> TokenizedRows:
        opened.append(number)
        return as_large_as_any([prompt_of(n) for n in range(10)], answers=2, tokens=3)

    steps = RoundSteps(Rounds(rounds=3), make, rows=10, batch_size=5, seed=0)
    for step in range(steps.count):
        steps.batches(step, budget=100)
    assert opened == [0, 1, 2]
    assert [steps.opens_round(step) for step in range(4)] == [True, False, True, False]


def test_a_round_without_a_row_says_why() -> None:
    with pytest.raises(DataError, match=r"round 1 has no row to train on"):
        RoundSteps(Rounds(), lambda _: TokenizedRows.of([]), rows=10, batch_size=5, seed=0).open(0)


def test_pairs_of_k_answers_are_counted_before_they_are_there() -> None:
    assert [rows_per_prompt(4, how) for how in ("none", "best_vs_worst", "best_vs_each", "all_pairs")] == [
        1,
        1,
        3,
        6,
    ]
