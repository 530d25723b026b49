"""Rows of a stream: the same as those of a file, made one by one, and each that is left out named."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tokenizers import CHATML, byte_level
from truenorth.data.chat import Encoder
from truenorth.data.options import DataSettings, Needs
from truenorth.data.prepare import prepare
from truenorth.data.problems import Account
from truenorth.data.stream import Copied, StreamedRows
from truenorth.data.tokens import TokenizedRow
from truenorth.errors import DataError

GOOD = [{"prompt": f"what is {i}?", "chosen": f"it is {i}", "rejected": "no idea"} for i in range(6)]
BAD: list[Any] = [
    "{half a row",
    [1, 2],
    {"prompt": "what is it?", "chosen": "this", "rejected": "this"},
    {"prompt": "what is it?", "chosen": 3, "rejected": "that"},
    {"prompt": "what is it?", "chosen": "long " * 90, "rejected": "that"},
    {"prompt": "what is it?", "chosen": None, "rejected": "that"},
]
SAME = "identical_answers"
REASONS = ["unparsable", "unparsable", SAME, "wrong_type", "too_long", "null_answer"]


def never() -> bool:
    return False


class Streamed:
    """A stream in a file that is whole, taken as a run takes it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, list[str]()

    def rows(
        self, lines: Sequence[Any], *, by: int = 2, count: int = 100, **options: Any
    ) -> tuple[list[TokenizedRow], Account]:
        file = self.folder / "rows.jsonl"
        file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        encoder = Encoder(byte_level(CHATML))
        settings = DataSettings(max_length=64, **options)
        rows = StreamedRows(
            Copied(file, "rows.jsonl"), encoder, settings, by=by, left_out=self.folder / "left_out.jsonl"
        )
        made = list[TokenizedRow]()
        with closing(rows):
            rows.begin(never)
            while taken := rows.take(count, never, self.said.append):
                made += taken
        return made, rows.account

    @property
    def left_out(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "left_out.jsonl").read_text().splitlines()]


@pytest.fixture
def streamed(tmp_path: Path) -> Streamed:
    return Streamed(tmp_path)


def alike(ours: TokenizedRow, theirs: TokenizedRow) -> bool:
    texts = zip((ours.prompt, *ours.responses), (theirs.prompt, *theirs.responses), strict=True)
    return ours.key == theirs.key and ours.row == theirs.row and all(np.array_equal(a, b) for a, b in texts)


@pytest.mark.parametrize("count", [1, 4, 100])
@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (GOOD, {}),
        ([{"prompt": "hi", "responses": list("abc"), "scores": [1, 3, 2]}] * 2, {"pairing": "all_pairs"}),
        (GOOD, {"needs": Needs(candidates=(1, 1), columns=("label",))}),
        ([row | {"score_chosen": i % 2, "score_rejected": 0} for i, row in enumerate(GOOD)], {}),
    ],
)
def test_rows_of_a_stream_are_those_of_the_file(
    count: int, rows: list[Any], options: dict[str, Any], streamed: Streamed, tmp_path: Path
) -> None:
    made, account = streamed.rows(rows, count=count, **options)
    whole = prepare(
        [(str(tmp_path / "rows.jsonl"), 1.0)],
        byte_level(CHATML),
        settings=DataSettings(max_length=64, max_problem_share=1.0, **options),
        cache=tmp_path / "cache",
    )
    assert len(made) == len(whole.rows)
    assert all(map(alike, made, whole.rows))
    ours = (account.read, account.kept, account.dropped, account.made)
    assert ours == (whole.account.read, whole.account.kept, whole.account.dropped, whole.account.made)


def test_each_bad_row_is_left_out_with_its_line_and_reason(streamed: Streamed) -> None:
    lines = [row for pair in zip(GOOD, BAD, strict=True) for row in pair]
    made, account = streamed.rows(lines, by=3)
    assert [row.row for row in made] == [1, 3, 5, 7, 9, 11]
    assert [(note["row"], note["reason"]) for note in streamed.left_out] == list(
        zip(range(2, 13, 2), REASONS, strict=True)
    )
    assert (account.read, account.kept, account.dropped) == (12, 6, 6)
    assert not account.stops
    assert streamed.said[2] == "Left out: rows.jsonl, row 6: 2 answers (identical_answers)."


def test_only_the_first_rows_of_a_reason_are_said_and_all_are_noted(streamed: Streamed) -> None:
    streamed.rows([GOOD[0], *[BAD[2]] * 9], on_problem="drop")
    assert len(streamed.left_out) == 9
    assert len(streamed.said) == 3
    assert "left_out.jsonl has all" in streamed.said[-1]


def test_a_row_that_contradicts_an_earlier_one_is_kept_unless_asked_otherwise(streamed: Streamed) -> None:
    other = {"prompt": "what is 0?", "chosen": "no idea", "rejected": "it is 0"}
    made, account = streamed.rows([GOOD[0], other, GOOD[0], GOOD[0]])
    assert len(made) == 4
    assert {name: tally.count for name, tally in account.reasons.items()} == {"contradiction": 2, "duplicate": 1}
    made, account = streamed.rows([GOOD[0], other, GOOD[0], GOOD[0]], on_problem="drop")
    assert [row.row for row in made] == [1, 4]


def test_more_answers_than_the_method_takes_stop_the_start_and_not_the_stream(streamed: Streamed) -> None:
    many = {"prompt": "hi", "responses": list("abc"), "scores": [1, 3, 2]}
    two = {"prompt": "hi", "responses": list("ab"), "scores": [1, 3]}
    with pytest.raises(DataError, match="Choose --pairing"):
        streamed.rows([two, many])
    made, _ = streamed.rows([two, two, many])
    assert len(made) == 2
    assert streamed.left_out == [{"row": 3, "reason": "too_many_answers", "detail": "3 answers"}]


def test_a_stream_without_rows_or_without_a_layout_is_refused(streamed: Streamed) -> None:
    with pytest.raises(DataError, match=r"no row came from rows.jsonl.*--stream-idle"):
        streamed.rows(["", " "])
    with pytest.raises(DataError, match="columns"):
        streamed.rows([{"question": "hi", "good": "a"}])


def test_blank_lines_count_as_lines_and_a_byte_order_mark_does_not_hurt(streamed: Streamed) -> None:
    made, account = streamed.rows(["\ufeff" + json.dumps(GOOD[0]), "", GOOD[1]])
    assert [row.row for row in made] == [1, 3]
    assert account.read == 2
