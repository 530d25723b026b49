"""Whose each row is: read from the files again, row by row, whatever became of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import rows_of
from truenorth.data.owners import check_column, owners_of
from truenorth.data.tokens import TokenizedRow, TokenizedRows
from truenorth.errors import DataError


def written(file: Path, owners: list[object]) -> str:
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c"} | ({} if o is None else {"user": o}) for o in owners]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def made_of(*places: tuple[str, int]) -> TokenizedRows:
    rows: list[TokenizedRow] = rows_of([(3, (2, 2))] * len(places))
    return TokenizedRows.of(replace(row, file=file, row=n) for row, (file, n) in zip(rows, places, strict=True))


def test_each_row_has_the_owner_of_the_row_it_was_made_of(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.jsonl", ["ann", 7, "bob"]), written(tmp_path / "b.jsonl", ["ann", "eve"])
    rows = made_of((first, 1), (first, 3), (first, 3), (second, 2))  # one was dropped, one made two
    assert owners_of(rows, [first, second], "user") == ["ann", "bob", "bob", "eve"]
    assert owners_of(made_of((first, 2)), [first], "user") == ["7"]


def test_a_file_given_twice_has_its_rows_twice(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", ["ann", "bob"])
    assert owners_of(made_of((file, 1), (file, 2), (file, 1), (file, 2)), [file, file], "user") == ["ann", "bob"] * 2


def test_a_misspelt_column_names_the_nearest(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", ["ann"])
    with pytest.raises(DataError, match=r"row 1 has no column 'usr'.* Did you mean user\? It has prompt, chosen"):
        check_column([file], "usr")


@pytest.mark.parametrize(
    ("owner", "message"), [(None, "row 2 has no column 'user'"), ([1], "got \\[1\\]"), ("", "got ''")]
)
def test_a_row_without_an_owner_is_named(owner: object, message: str, tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", ["ann", owner])
    with pytest.raises(DataError, match=message):
        owners_of(made_of((file, 1), (file, 2)), [file], "user")


def test_rows_that_are_gone_are_an_error(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", ["ann"])
    with pytest.raises(DataError, match="row 2 is not there any more"):
        owners_of(made_of((file, 1), (file, 2)), [file], "user")
