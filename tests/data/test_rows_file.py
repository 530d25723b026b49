"""A file of rows that a kill cuts anywhere goes on behind its last whole part."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import rows_of
from truenorth.data.problems import Account
from truenorth.data.rows_file import RowsFile
from truenorth.data.tokens import blocks

PARTS = [blocks(rows_of([(3, [2, 4])] * n), share=1.0) for n in (2, 0, 1)]


def write(folder: Path) -> bytes:
    """Append the parts that are not there, finish, and give the file's bytes."""
    with RowsFile.open(folder) as file:
        for place in range(len(file.accounts), len(PARTS)):
            file.append(PARTS[place], Account(made=place))
        assert [account.made for account in file.accounts] == [0, 1, 2]
        return file.finish().read_bytes()


@given(written=st.integers(0, 3), lost=st.integers(0, 400))
def test_a_file_cut_anywhere_is_completed_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, written: int, lost: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    with RowsFile.open(folder) as file:
        for place in range(written):
            file.append(PARTS[place], Account(made=place))
    log, rows = folder / "parts.jsonl", folder / "rows.arrow.new"
    log.write_bytes(log.read_bytes()[: max(0, log.stat().st_size - lost)])  # the log falls behind the rows
    rows.write_bytes(rows.read_bytes() + b"half a part")
    assert write(folder) == write(tmp_path_factory.mktemp("whole"))


def test_a_log_without_its_rows_is_not_believed(tmp_path: Path) -> None:
    with RowsFile.open(tmp_path) as file:
        file.append(PARTS[0], Account())
    (tmp_path / "rows.arrow.new").unlink()
    with RowsFile.open(tmp_path) as file:
        assert file.accounts == []


def test_a_finished_file_leaves_nothing_else(tmp_path: Path) -> None:
    write(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.arrow"]
