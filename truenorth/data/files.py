"""Rows out of files: JSON, JSONL, CSV, TSV, Parquet, compressed or not, folders of them, and `datasets`.

Every format is read as a stream. A record that cannot be read is a row with a fault, not an exception.
"""

import csv
import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from . import hub
from .compressed import DAMAGE, OPENERS, open_text

_CHUNK = 2**20  # characters of JSON read at once
_GAP = re.compile(r"[\s,]*")
# Cells of a CSV file that hold a list stand there as JSON.
_JSON_COLUMNS = {"messages", "conversations", "conversation", "responses", "completions", "scores", "ranks", "tools"}
_MESSAGES = re.compile(r'\[\s*\{\s*"(role|content|from|value)"\s*:')


@dataclass(frozen=True, slots=True)
class RawRow:
    """One record of a file as it stands there."""

    file: str
    row: int  # 1-based; the line in JSONL, the record (header not counted) elsewhere
    fields: dict[str, Any] | None
    fault: str | None = None  # why there are no fields


def read_rows(path: str) -> Iterator[RawRow]:
    """The rows of a file, a folder of files, a folder of `datasets`, or a name on the Hub.

    Folders of `datasets` and Hub names may end in `:split`. Raises DataError where there is no such thing.
    """
    here = Path(path)
    if here.is_file():
        yield from _read_file(here)
    elif hub.is_saved(path):
        yield from _numbered(path, hub.saved(path))
    elif here.is_dir():
        for file in _data_files(here):
            yield from _read_file(file)
    else:
        must_exist(path)
        yield from _numbered(path, hub.downloaded(path, not_a_file=missing(here)))


def must_exist(path: str) -> None:
    """Raise DataError where `path` is neither a file, nor a folder, nor possibly a name on the Hub."""
    here = Path(path)
    on_hub = hub.could_be_name(path) and not (here.suffix in _READERS or here.suffix in OPENERS)
    if not (here.exists() or hub.is_saved(path) or on_hub):
        raise DataError(missing(here))


def plain_files(path: str) -> list[Path]:
    """The files that `read_rows` reads one after another, or none where `datasets` does the reading."""
    here = Path(path)
    if here.is_file():
        return [here]
    return _data_files(here) if here.is_dir() and not hub.is_saved(path) else []


def size_of(path: str) -> int | None:
    """Bytes on disk of the data at `path`; None where only `datasets` knows."""
    here = Path(path)
    if here.is_file():
        return here.stat().st_size
    return sum(file.stat().st_size for file in here.rglob("*") if file.is_file()) if here.is_dir() else None


def missing(path: Path) -> str:
    """Says that there is no such file, and names what is near."""
    folder = path.parent
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=3)
    if near:
        return f"{path} does not exist. Near it: {', '.join(str(folder / name) for name in near)}."
    return f"{path} does not exist" + (", nor does its folder." if not folder.is_dir() else ".")


def _numbered(name: str, records: Iterator[dict[str, Any]]) -> Iterator[RawRow]:
    for number, record in enumerate(records, start=1):
        yield RawRow(name, number, record)


def _data_files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file() and _reader(file) is not None)
    if not files:
        raise DataError(f"{folder} holds no data file. Readable are {', '.join(_READERS)}, also .gz, .xz and .zst.")
    return files


def _reader(file: Path) -> Callable[[Path], Iterator[RawRow]] | None:
    suffixes = [suffix for suffix in file.suffixes if suffix not in OPENERS]
    return _READERS.get(suffixes[-1]) if suffixes else None


def _read_file(file: Path) -> Iterator[RawRow]:
    reader = _reader(file)
    if reader is None:
        raise DataError(f"{file} has an unknown ending. Readable are {', '.join(_READERS)}, also .gz, .xz and .zst.")
    try:
        yield from reader(file)
    except DAMAGE as error:
        raise DataError(f"{file} is damaged or not what its ending says: {error}.") from error


def _record(file: str, row: int, value: object) -> RawRow:
    if isinstance(value, dict):
        return RawRow(file, row, value)
    return RawRow(file, row, None, f"a row must be an object, got {type(value).__name__}")


def _jsonl(file: Path) -> Iterator[RawRow]:
    with open_text(file) as lines:
        yield from json_lines(str(file), enumerate(lines, start=1))


def json_lines(file: str, lines: Iterable[tuple[int, str]]) -> Iterator[RawRow]:
    """The rows in numbered lines of a JSONL file; blank lines hold none."""
    for number, line in lines:
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:  # RecursionError: a thousand brackets within each other
            yield RawRow(file, number, None, f"not JSON ({error})")
        else:
            yield _record(file, number, value)


def unfinished(line: bytes) -> bool:
    """Whether a line is half written: it has no line break, and its JSON is cut.

    >>> unfinished(b'{"prompt": "2 +'), unfinished(b'{"prompt": "2 + 2"}'), unfinished(b'{"prompt": "2 +\\n')
    (True, False, False)
    """
    if line.endswith(b"\n") or not line.strip():
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def _json(file: Path) -> Iterator[RawRow]:
    """A list of objects, an object that holds one such list, or JSON lines under a wrong ending."""
    with open_text(file) as text:
        start = next((piece for piece in iter(lambda: text.read(_CHUNK), "") if piece.strip()), "")
    if start.lstrip().startswith("["):  # perhaps in one line, which is longer than memory
        return _json_list(file)
    with open_text(file) as text:
        first = next((line for line in text if line.strip()), "")
        more = any(line.strip() for line in text)
    try:
        value = json.loads(first)
    except ValueError:
        return _json_object(file)
    return _jsonl(file) if more or _table_in(value) is None else _json_object(file)


def _json_object(file: Path) -> Iterator[RawRow]:
    """The items of the one list of objects in a JSON object: {"version": 1, "data": [...]}."""
    with open_text(file) as text:
        try:
            items = _table_in(json.load(text))
        except ValueError as error:
            items, fault = None, f"not JSON ({error})"
        else:
            fault = "neither a list of objects nor an object that holds one"
    if items is None:
        yield RawRow(str(file), 1, None, fault)
        return
    for number, item in enumerate(items, start=1):
        yield _record(str(file), number, item)


def _table_in(value: object) -> list[Any] | None:
    """The list of objects that `value` holds, if there is just one and no row of a known layout around it."""
    if not isinstance(value, dict) or {"prompt", "messages", "conversations", "instruction"} & set(value):
        return None
    lists = [item for item in value.values() if isinstance(item, list) and item and isinstance(item[0], dict)]
    return lists[0] if len(lists) == 1 else None


def _json_list(file: Path) -> Iterator[RawRow]:
    """The items of one JSON list, without holding the list: decoded one by one as the text comes in."""
    decode = json.JSONDecoder().raw_decode
    with open_text(file) as text:
        rest, number = text.read(_CHUNK).lstrip(), 1
        at = 1  # behind the bracket
        while True:
            at = _GAP.match(rest, at).end()  # pyright: ignore[reportOptionalMemberAccess] # matches the empty text
            if rest.startswith("]", at):
                return
            try:
                value, end = decode(rest, at)
            except ValueError as error:
                more = text.read(max(_CHUNK, len(rest)))
                if not more:
                    yield RawRow(str(file), number, None, f"not JSON from here on ({error})")
                    return
                rest, at = rest[at:] + more, 0
                continue
            yield _record(str(file), number, value)
            at, number = end, number + 1


def _csv(file: Path) -> Iterator[RawRow]:
    with open_text(file) as text:
        records = _csv_records(text, "\t" if ".tsv" in file.suffixes else ",")
        header = next(records, [])
        if isinstance(header, str):
            raise DataError(f"{file} has a header that cannot be read: {header}.")
        for number, record in enumerate((record for record in records if record), start=1):
            if isinstance(record, str):
                yield RawRow(str(file), number, None, record)
            elif len(record) != len(header):
                fault = f"{len(record)} fields, the header has {len(header)}"
                yield RawRow(str(file), number, None, fault)
            else:
                fields = {name: _cell(name, value) for name, value in zip(header, record, strict=True)}
                yield RawRow(str(file), number, fields)


def _csv_records(text: Iterable[str], delimiter: str) -> Iterator[list[str] | str]:
    """The cells of each record, none of a blank line, or why there are none."""
    csv.field_size_limit(2**31 - 1)
    # strict: else all that follows a quote that is never closed would be one cell, and its rows gone unseen
    records = csv.reader(text, delimiter=delimiter, strict=True)
    while True:
        try:
            yield next(records)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"not CSV ({error})"


def _cell(column: str, text: str) -> object:
    """A cell of a CSV file: text, or the list that its JSON stands for where a list is expected."""
    if (column in _JSON_COLUMNS and text.lstrip()[:1] in {"[", "{"}) or _MESSAGES.match(text):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _parquet(file: Path) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    number = 0
    try:
        with parquet.ParquetFile(file) as table:
            for block in table.iter_batches(batch_size=1024):
                for record in block.to_pylist():
                    number += 1
                    yield RawRow(str(file), number, record)
    except (pa.ArrowException, OSError) as error:  # OSError: a page that its compression does not know
        raise DataError(f"{file} is damaged or no Parquet file, behind row {number}: {error}") from error


_READERS: Mapping[str, Callable[[Path], Iterator[RawRow]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
