"""Rounds that begin from rows of the data: what is drawn for each, who is asked, and what is trained on."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.online.test_rounds import Echo, last_digit
from truenorth import world
from truenorth.data.chat import Encoder
from truenorth.data.prepare import DataSettings, prepare
from truenorth.errors import DataError
from truenorth.online.contents import Contents
from truenorth.online.given import Given
from truenorth.online.round_file import RoundRow
from truenorth.online.round_measures import measures_of
from truenorth.online.round_steps import tokenized
from truenorth.online.rounds import JUDGED_AT_ONCE, Play
from truenorth.schedule import OwnRows, Rounds

ROWS = 40


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(world.sft_model())


@pytest.fixture(scope="module")
def given(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("data")
    file = folder / "pairs.jsonl"
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Say {n}."}],
            "chosen": f"Yes {n} 5",
            "rejected": f"No {n} 1",
            "weight": 1 + n % 3,
        }
        for n in range(ROWS)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [(str(file), 1.0)]
    return Given.of(prepare(sources, tokenizer, settings=DataSettings(), cache=folder / "cache"), sources, tokenizer)


def play(
    folder: Path, given: Given, sampler: Echo | None = None, *, own: OwnRows | None = None, **changes: Any
) -> Play:
    settings: dict[str, Any] = {"compared": "rows", "k": 1} | changes
    schedule = Rounds(**settings)
    contents = Contents(given.prompts, given, schedule.compared, own)
    judge = last_digit_of_answers if schedule.judged or (own and own.asks_a_judge) else None
    return Play(schedule, contents, ROWS, sampler or Echo(), judge, folder, 0, nullcontext)


def last_digit_of_answers(prompts: Any, answers: Any) -> Any:
    return last_digit(["" for _ in prompts], answers)


def test_drawn_answers_stand_beside_a_pair_that_nobody_judges(given: Given, tmp_path: Path, tokenizer: Any) -> None:
    made = play(tmp_path, given)
    rows = made.round(0).rows()
    assert sorted(str(row.prompt) for row in rows) == sorted(map(str, given.prompts))
    assert all(row.scores == (1.0, 0.0) and row.unjudged and row.given == 2 for row in rows)
    assert all(row.beside and row.beside.responses[0].endswith("0 0") for row in rows)
    found, empty = tokenized(rows, Encoder(tokenizer), pairing="best_vs_worst", ties="drop", sample="policy")
    assert empty == 0
    places = {row.prompt.tobytes(): row for row in given.rows}
    for row in found:  # the very tokens of the data, and behind them those that were drawn
        source = places[row.prompt.tobytes()]
        assert [tokens.tolist() for tokens in row.responses] == [*map(list, source.responses), [5, 6, 7]]
    measured = measures_of(tmp_path, 0)
    assert measured["lengths/sampled"] == 3
    assert "rewards/judge" not in measured


def test_a_judge_ranks_a_pair_together_with_what_is_drawn(given: Given, tmp_path: Path, tokenizer: Any) -> None:
    rows = play(tmp_path, given, compared="both").round(0).rows()
    assert all(row.scores == (5.0, 1.0, 0.0) for row in rows)  # by their last digits
    made, _ = tokenized(rows, Encoder(tokenizer), pairing="best_vs_worst", ties="drop", sample="policy")
    row = made[0]
    assert row.scores == (5.0, 0.0)
    assert row.responses[1].tolist() == row.responses[2].tolist() == [5, 6, 7]  # the worst, and beside it the same
    without, _ = tokenized(rows, Encoder(tokenizer), pairing="best_vs_worst", ties="drop")
    assert len(without[0].responses) == 2
    assert measures_of(tmp_path, 0)["rewards/judge"] == 0.0  # of the drawn answers, not of the data's


@pytest.mark.parametrize("judged", [False, True])
def test_a_share_of_the_rows_is_redrawn(judged: bool, given: Given, tmp_path: Path, tokenizer: Any) -> None:
    own, calls = OwnRows(0.4, redrawn=True, judged=judged), list[Any]()
    made = play(tmp_path, given, Echo(calls=calls), own=own, k=2)
    rows = made.round(0).rows()
    theirs = [row for row in rows if row.columns and row.columns["own"]]
    assert 0 < len(theirs) == len(calls) < ROWS
    assert all(bool(row.given) != (row in theirs) for row in rows)
    assert all(bool(row.unjudged) != (judged and row in theirs) for row in rows)
    draws = {row.columns["label_draw"] for row in rows if row.columns}
    assert len(draws) == ROWS
    assert all(0 <= draw < 1 for draw in draws)
    found, empty = tokenized(rows, Encoder(tokenizer), pairing="best_vs_worst", ties="drop")
    assert (len(found), empty) == (ROWS, 0)  # an unjudged pair is no tie
    assert {tuple(sorted(row.columns)) for row in found} == {("label_draw", "own", "weight")}


@pytest.mark.parametrize("compared", ["rows", "both"])
def test_rows_keep_their_weight(compared: str, given: Given, tmp_path: Path, tokenizer: Any) -> None:
    rows = play(tmp_path, given, compared=compared).round(0).rows()
    made, _ = tokenized(rows, Encoder(tokenizer), pairing="best_vs_worst", ties="drop", sample="policy")
    theirs = {row.prompt.tobytes(): row.columns["weight"] for row in given.rows}
    assert {row.prompt.tobytes(): row.columns["weight"] for row in made} == theirs


def test_which_rows_are_the_policys_own_changes_from_round_to_round_at_its_share(given: Given) -> None:
    own = [[_is_own(given, number, i, seed=0) for i in range(ROWS)] for number in range(50)]
    assert own[0] != own[1]
    assert own[0] != [_is_own(given, 0, i, seed=1) for i in range(ROWS)]
    share = sum(map(sum, own)) / (50 * ROWS)
    assert abs(share - 0.4) < 4 * (0.24 / (50 * ROWS)) ** 0.5


def _is_own(given: Given, number: int, i: int, *, seed: int) -> bool:
    return Contents(given.prompts, given, "rows", OwnRows(0.4, redrawn=True, judged=False), seed).draws(number, i)


def test_labels_alone_draw_nothing(given: Given, tmp_path: Path) -> None:
    calls = list[Any]()
    rows = play(tmp_path, given, Echo(calls=calls), own=OwnRows(0.4, redrawn=False, judged=False)).round(0).rows()
    assert not calls
    assert len(rows) == ROWS
    assert "lengths/sampled" not in measures_of(tmp_path, 0)


@pytest.mark.parametrize("cut", [0, 500, 9000, 20000])
@pytest.mark.parametrize("own", [None, OwnRows(0.4, redrawn=True, judged=True)])
def test_a_round_that_is_cut_is_gone_on_with_to_the_same_rows(
    own: OwnRows | None, cut: int, given: Given, tmp_path: Path
) -> None:
    k = 2 if own else 1
    whole = play(tmp_path / "whole", given, own=own, k=k).round(0)
    folder = tmp_path / "cut" / "0001"
    folder.mkdir(parents=True)
    log = whole.log.read_bytes().splitlines(keepends=True)
    (folder / "rows.jsonl").write_bytes(whole.rows_file.read_bytes()[: max(cut, json.loads(log[0])["end"])])
    (folder / "log.jsonl").write_bytes(log[0] + log[-1][:20])
    calls = list[Any]()
    again = play(tmp_path / "cut", given, Echo(calls=calls), own=own, k=k).round(0)
    assert again.rows() == whole.rows()
    assert len(calls) <= ROWS - JUDGED_AT_ONCE * (own is None)


def test_rows_without_what_is_read_beside_them_are_refused(tokenizer: Any) -> None:
    row = RoundRow("Hello?", ("Yes.", "No."), (1.0, 0.0), ((0.5, 1.0), (0.0, 0.5)), 0, given=2)
    with pytest.raises(DataError, match=r"the row of 'Hello\?' has no answer of the policy beside those it compares"):
        tokenized([row], Encoder(tokenizer), pairing="best_vs_worst", ties="drop", sample="policy")


def test_an_opponents_answer_is_compared_where_it_is_the_sample(tokenizer: Any) -> None:
    wins = ((0.5, 0.2), (0.8, 0.5))
    row = RoundRow("Hello?", ("No.", "Yes."), (0.2, 0.8), wins, 0, tokens=((5, 6), (7,)), opponents=1)
    made, _ = tokenized([row], Encoder(tokenizer), pairing="best_vs_worst", ties="drop", sample="opponent")
    assert [tokens.tolist() for tokens in made[0].responses] == [[7], [5, 6], [7]]
