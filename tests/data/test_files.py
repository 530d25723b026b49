import csv
import gzip
import json
import lzma
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import zstandard

from truenorth.data.files import read_rows
from truenorth.data.identity import identity
from truenorth.errors import DataError

ROWS = [{"prompt": f"p{i}", "chosen": "good\u2028 ☃", "rejected": "bad"} for i in range(3)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows in the format that the path's ending names."""
    name = path.name
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if ".json." in name or name.endswith(".json"):
        lines = json.dumps(rows, indent=1)
    if ".csv" in name or ".tsv" in name:
        plain = path.with_suffix(".plain")
        with plain.open("w", newline="", encoding="utf-8") as out:
            table = csv.DictWriter(out, list(rows[0]), delimiter="\t" if ".tsv" in name else ",")
            table.writeheader()
            table.writerows(rows)
        lines = plain.read_bytes().decode()
        plain.unlink()
    if name.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pylist(rows), path)
        return path
    data = lines.encode()
    pack = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(data))
    return path


@pytest.mark.parametrize("form", [".json", ".jsonl", ".ndjson", ".csv", ".tsv"])
@pytest.mark.parametrize("packed", ["", ".gz", ".xz", ".zst"])
def test_every_text_format_gives_the_same_rows_packed_or_not(tmp_path: Path, form: str, packed: str) -> None:
    path = write(tmp_path / f"pairs{form}{packed}", ROWS)
    assert [raw.fields for raw in read_rows(str(path))] == ROWS


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.parquet", ROWS)
    assert [(raw.row, raw.fields) for raw in read_rows(str(path))] == list(enumerate(ROWS, start=1))


def test_json_lines_under_a_json_ending_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", ROWS).rename(tmp_path / "pairs.json")
    assert [raw.fields for raw in read_rows(str(path))] == ROWS


def test_a_list_inside_a_json_object_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps({"version": 1, "data": ROWS}, indent=2))
    assert [raw.fields for raw in read_rows(str(path))] == ROWS


def test_a_json_list_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    rows = [{"prompt": "x" * 300_000, "n": i} for i in range(10)]
    path = write(tmp_path / "long.json", rows)
    assert [raw.fields for raw in read_rows(str(path))] == rows


def test_a_json_list_in_one_line_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([{**ROWS[0], "prompt": "p" * 1000}] * 20_000))
    tracemalloc.start()
    try:
        assert next(iter(read_rows(str(path)))).row == 1
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 3
    finally:
        tracemalloc.stop()


def test_the_row_of_a_jsonl_file_is_its_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert [raw.row for raw in read_rows(str(path))] == [1, 3]


def test_a_line_of_brackets_without_end_is_a_fault_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("[" * 100_000 + "\n" + json.dumps(ROWS[0]) + "\n")
    first, second = read_rows(str(path))
    assert first.fault is not None
    assert second.fields == ROWS[0]


def test_a_line_that_is_no_json_is_a_fault_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"a": 1}\n{"a": \n[1]\n{"a": 2}\n')
    rows = list(read_rows(str(path)))
    assert [raw.fields for raw in rows] == [{"a": 1}, None, None, {"a": 2}]
    assert "not JSON" in str(rows[1].fault)
    assert "must be an object, got list" in str(rows[2].fault)


def test_a_json_list_that_breaks_off_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text('[{"a": 1}, {"a": 2')
    assert [raw.fault is None for raw in read_rows(str(path))] == [True, False]


def test_a_csv_record_with_a_field_too_many_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("a,b\n1,2\n1,2,3\n")
    assert [raw.fault for raw in read_rows(str(path))] == [None, "3 fields, the header has 2"]


def test_a_quote_in_a_csv_file_that_is_never_closed_swallows_no_rows_unseen(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('prompt,chosen,rejected\na,b,c\nd,e,"f\ng,h,i\n')
    assert [(raw.row, raw.fault) for raw in read_rows(str(path))] == [
        (1, None),
        (2, "not CSV (unexpected end of data)"),
    ]


def test_a_csv_cell_that_goes_on_behind_its_quotes_is_a_fault_and_the_next_record_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('prompt,chosen,rejected\na,"b" or not,c\nd,"e ""f""",g\n')
    first, second = read_rows(str(path))
    assert first.fault is not None
    assert second.fields == {"prompt": "d", "chosen": 'e "f"', "rejected": "g"}


def test_a_csv_header_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('"prompt"s,chosen\na,b\n')
    with pytest.raises(DataError, match=r"pairs.csv has a header that cannot be read: not CSV"):
        list(read_rows(str(path)))


def test_lists_in_a_csv_file_are_read_as_json_where_lists_are_expected(tmp_path: Path) -> None:
    rows = [{"prompt": "[1, 2]", "responses": '["a", "b"]', "scores": "[0, 1]", "chosen": '[{"role": "user"}]'}]
    (raw,) = read_rows(str(write(tmp_path / "k.csv", rows)))
    expected = {"prompt": "[1, 2]", "responses": ["a", "b"], "scores": [0, 1], "chosen": [{"role": "user"}]}
    assert raw.fields == expected


def test_a_folder_gives_the_rows_of_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", ROWS[2:])
    write(tmp_path / "a.parquet", ROWS[:2])
    (tmp_path / "README.md").write_text("not data")
    assert [raw.fields for raw in read_rows(str(tmp_path))] == ROWS


def test_a_missing_file_names_what_is_near(tmp_path: Path) -> None:
    write(tmp_path / "pairs_train.jsonl", ROWS)
    with pytest.raises(DataError, match=r"pair_train.jsonl does not exist. Near it: .*pairs_train.jsonl"):
        list(read_rows(str(tmp_path / "pair_train.jsonl")))


def test_an_unknown_ending_names_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "pairs.xlsx"
    path.write_text("x")
    with pytest.raises(DataError, match=r"unknown ending. Readable are .jsonl, .*parquet"):
        list(read_rows(str(path)))


@pytest.mark.parametrize("name", ["pairs.jsonl.gz", "pairs.jsonl.xz", "pairs.jsonl.zst", "pairs.parquet"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PAR1 not what the ending says")
    with pytest.raises(DataError, match=f"{name} is damaged"):
        list(read_rows(str(path)))


def test_a_parquet_file_whose_pages_are_damaged_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.parquet", [{**row, "prompt": str(row)} for row in ROWS * 500])
    data = bytearray(path.read_bytes())
    data[100:2000] = bytes(1900)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"pairs.parquet is damaged or no Parquet file, behind row 0"):
        list(read_rows(str(path)))


def test_the_identity_changes_with_the_content_and_not_with_the_time(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", ROWS)
    first = identity(str(path))
    write(path, ROWS)
    assert identity(str(path)) == first
    write(path, ROWS[1:])
    assert identity(str(path)) != first
