from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import rows_of
from truenorth.data.packing import pack
from truenorth.data.problems import Account
from truenorth.data.rows_file import RowsFile
from truenorth.data.tokens import ROWS_PER_BLOCK, TokenizedRow, TokenizedRows, blocks, key_of

SHAPES = [(3, [2, 4]), (1, [5]), (7, [1, 1, 6])]


def same(a: TokenizedRow, b: TokenizedRow) -> bool:
    arrays = zip((a.prompt, *a.responses, *a.degraded), (b.prompt, *b.responses, *b.degraded), strict=True)
    rest = [(r.scores, dict(r.columns), r.file, r.row, r.key) for r in (a, b)]
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in arrays) and rest[0] == rest[1]


def written(folder: Path, *parts: tuple[list[TokenizedRow], float]) -> TokenizedRows:
    """Rows with their share, part by part, from the disk."""
    with RowsFile.open(folder) as file:
        for rows, share in parts:
            file.append(blocks(rows, share=share), Account())
        return TokenizedRows.open(file.finish())


def test_rows_come_back_from_the_file_as_they_were(tmp_path: Path) -> None:
    rows = rows_of(SHAPES, scores=True)
    back = written(tmp_path, (rows, 1.0))
    assert len(back) == len(rows)
    assert all(same(a, b) for a, b in zip(rows, back, strict=True))


def test_degraded_versions_come_back_and_count_as_tokens(tmp_path: Path) -> None:
    rows = [*rows_of(SHAPES[:2], degraded=2), *rows_of(SHAPES[2:])]
    back = written(tmp_path, (rows, 1.0))
    assert all(same(a, b) for a, b in zip(rows, back, strict=True))
    assert back.lengths.tolist() == [3 + 6 + (1 + 1) + (3 + 2), 1 + 5 + (4 + 3), 7 + 8]
    assert TokenizedRows.of(rows[:2]).degraded == 2


def test_degraded_versions_are_part_of_the_identity_but_no_reference_scores_them() -> None:
    none, one, two = (TokenizedRows.of(rows_of(SHAPES, degraded=m)) for m in range(3))
    assert len({rows.identity for rows in (none, one, two)}) == 3
    assert none.fingerprint == one.fingerprint == two.fingerprint


def test_rows_of_several_blocks_are_found(tmp_path: Path) -> None:
    count = 2 * ROWS_PER_BLOCK + 3
    rows = rows_of([(1 + i % 3, [1, 2]) for i in range(count)])
    back = written(tmp_path, (rows, 1.0))
    places = [0, ROWS_PER_BLOCK - 1, ROWS_PER_BLOCK, count - 1, -1]
    assert [back[i].row for i in places] == [rows[i].row for i in places]


def test_lengths_count_the_prompt_once() -> None:
    rows = TokenizedRows.of(rows_of(SHAPES))
    assert rows.lengths.tolist() == [3 + 6, 1 + 5, 7 + 8]
    assert rows.candidates.tolist() == [2, 1, 3]


def test_the_longest_is_a_prompt_with_one_response() -> None:
    assert TokenizedRows.of(rows_of(SHAPES)).longest == 13


def test_shares_are_those_of_the_sources(tmp_path: Path) -> None:
    first, second = rows_of(SHAPES[:2])
    assert written(tmp_path, ([first], 1.0), ([second], 0.5)).shares.tolist() == [1.0, 0.5]


def test_there_is_no_row_behind_the_last() -> None:
    with pytest.raises(IndexError, match="row 3 of 3"):
        TokenizedRows.of(rows_of(SHAPES))[3]


def test_a_slice_is_a_list_of_rows() -> None:
    assert [row.row for row in TokenizedRows.of(rows_of(SHAPES))[1:]] == [2, 3]


def test_no_rows_are_no_error() -> None:
    empty = TokenizedRows.of([])
    assert (len(empty), empty.longest, len(empty.lengths)) == (0, 0, 0)


def test_rows_from_the_disk_equal_rows_in_memory(tmp_path: Path) -> None:
    rows = [replaced(row) for row in rows_of(SHAPES * 500, scores=True)]
    disk, memory = written(tmp_path, (rows[:700], 0.5), (rows[700:], 0.5)), TokenizedRows.of(rows, share=0.5)
    assert all(same(a, b) for a, b in zip(disk, memory, strict=True))
    assert (disk.fingerprint, disk.identity) == (memory.fingerprint, memory.identity)
    for name in ("prompt_lengths", "response_lengths", "candidates", "first", "lengths", "shares"):
        assert np.array_equal(getattr(disk, name), getattr(memory, name))


def test_rows_from_the_disk_are_not_copied_into_memory(tmp_path: Path) -> None:
    rows = rows_of([(3, [2000, 2000])] * 100)
    before = pa.total_allocated_bytes()
    back = written(tmp_path, (rows, 1.0))
    assert back[99].responses[1][-1] == rows[99].responses[1][-1]
    assert pa.total_allocated_bytes() - before < 100_000  # of 1.6 MB of tokens


IDS = st.lists(st.integers(0, 5), min_size=1, max_size=4)


@given(st.lists(IDS, min_size=2, max_size=3), st.lists(IDS, min_size=2, max_size=3))
def test_keys_are_equal_only_for_equal_tokens(a: list[list[int]], b: list[list[int]]) -> None:
    keys = [key_of(np.array(x[0], np.int32), [np.array(y, np.int32) for y in x[1:]]) for x in (a, b)]
    assert (keys[0] == keys[1]) == (a == b)


def test_a_key_is_the_same_on_every_machine() -> None:
    assert key_of(np.array([1, 2], np.int32), [np.array([3], np.int32)]) == "0b1126dc7b6619ada02b39f705f710c0"


def test_the_fingerprint_changes_with_the_order_of_the_rows() -> None:
    rows = [replaced(row) for row in rows_of(SHAPES)]
    assert TokenizedRows.of(rows).fingerprint != TokenizedRows.of(rows[::-1]).fingerprint


def replaced(row: TokenizedRow) -> TokenizedRow:
    """The row with the key of its tokens."""
    key = key_of(row.prompt, row.responses)
    return TokenizedRow(row.prompt, row.responses, row.scores, row.columns, row.file, row.row, key)


def test_the_identity_knows_scores_and_weights_and_the_fingerprint_only_tokens() -> None:
    rows = rows_of(SHAPES, scores=True)
    others = [replace(rows[0], columns={"weight": 2.0}), *rows[1:]]
    first, second = TokenizedRows.of(rows), TokenizedRows.of(others)
    assert first.fingerprint == second.fingerprint
    assert first.identity != second.identity
    assert first.identity != TokenizedRows.of(rows, share=0.5).identity


def test_wins_come_back_from_the_file_reach_the_batch_and_are_part_of_the_identity(tmp_path: Path) -> None:
    wins = ((0.5, 0.75), (0.25, 0.5))
    rows = [replace(row, wins=wins) for row in rows_of([(3, (2, 4)), (5, (1, 1))])]
    back = written(tmp_path, (rows, 1.0))
    assert back[1].wins == wins
    batch = pack(list(back))
    assert batch.wins is not None
    assert batch.wins.tolist() == [[[0.5, 0.75], [0.25, 0.5]]] * 2
    assert pack([rows[0], replace(rows[1], wins=None)]).wins is None
    others = [replace(rows[0], wins=((0.5, 1.0), (0.0, 0.5))), rows[1]]
    assert back.identity != TokenizedRows.of(others).identity
