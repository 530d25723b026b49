"""Parts of a source hold its rows once each, in order, wherever they are cut."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truenorth.data import parts
from truenorth.data.files import RawRow, read_rows
from truenorth.data.parts import count_lines, parts_of, read_part
from truenorth.errors import DataError

LINE = st.sampled_from(
    ['{"a": 1}', '{"prompt": "a longer row, ä"}', "", "  ", "{", "[1]", '{"a": "\\n"}', '{"b": 2}\r']
)


def rows_by_parts(path: str) -> list[RawRow]:
    """All rows of a file of lines, or of records, read part by part."""
    rows, lines = list[RawRow](), 0
    for part in parts_of(0, path):
        rows += read_part(part, lines_before=lines)
        lines += count_lines(part)
    return rows


@given(lines=st.lists(LINE, max_size=12), size=st.integers(1, 40), bom=st.booleans(), ended=st.booleans())
def test_parts_of_any_size_hold_the_rows_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], size: int, bom: bool, ended: bool
) -> None:
    file = tmp_path_factory.mktemp("parts") / "rows.jsonl"
    text = "\n".join(lines) + "\n" * (ended and bool(lines))
    file.write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "BYTES", size)
        assert rows_by_parts(str(file)) == list(read_rows(str(file)))


def test_what_cannot_be_cut_by_bytes_is_cut_by_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"a": i} for i in range(10)]
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as out:
        out.write("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.json").write_text(json.dumps(rows))
    monkeypatch.setattr(parts, "RECORDS", 4)
    assert [len(part.records) for part in parts_of(0, str(tmp_path))] == [4, 4, 2] * 2
    assert rows_by_parts(str(tmp_path)) == list(read_rows(str(tmp_path)))


def test_a_damaged_part_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": "\xff"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl is damaged"):
        rows_by_parts(str(tmp_path / "rows.jsonl"))
