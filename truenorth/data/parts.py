"""The rows of a source in parts of like size, which several processes read at once.

Where parts begin depends on the data alone, so that one process and many make the same of them. A JSONL file that is
not compressed is cut by bytes, and whoever gets a part reads it from disk. All else is read here, in order, and the
parts hold the records.
"""

from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ..errors import DataError
from .compressed import DAMAGE
from .files import RawRow, json_lines, plain_files, read_rows

BYTES = 4 * 2**20  # of a JSONL file
RECORDS = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one file that follow each other."""

    source: int  # its place among the sources
    file: str = ""
    begin: int = 0  # bytes: the lines that begin in [begin, end) are the part's
    end: int = 0
    records: list[RawRow] = field(default_factory=list[RawRow])  # or the rows themselves

    @property
    def name(self) -> str:
        """The file as rows name it."""
        return self.records[0].file if self.records else self.file


def parts_of(source: int, path: str) -> Iterator[Part]:
    """All rows of what `read_rows` reads at `path`, in its order. Raises DataError as it does."""
    files = plain_files(path)
    if not files:
        yield from _records(source, path)
    for file in files:
        if file.suffix in (".jsonl", ".ndjson"):
            size = file.stat().st_size
            yield from (Part(source, str(file), start, min(start + BYTES, size)) for start in range(0, size, BYTES))
        else:
            yield from _records(source, str(file))


def read_part(part: Part, *, lines_before: int) -> Iterator[RawRow]:
    """The part's rows. `lines_before` are the lines of its file that stand before it: rows are counted by line."""
    if part.records:
        yield from part.records
        return
    numbered = enumerate(_lines(part), start=lines_before + 1)
    try:
        yield from json_lines(part.file, ((number, line.decode()) for number, line in numbered))
    except DAMAGE as error:
        raise DataError(f"{part.file} is damaged or not what its ending says: {error}.") from error


def count_lines(part: Part) -> int:
    """Lines of a JSONL file that begin in the part."""
    return sum(1 for _ in _lines(part)) if not part.records else 0


def _lines(part: Part) -> Iterator[bytes]:
    with Path(part.file).open("rb") as data:
        if part.begin:
            data.seek(part.begin - 1)
            data.readline()  # a line that began before, or only the line break that ends it
        while (start := data.tell()) < part.end and (line := data.readline()):
            yield line if start else line.removeprefix(BOM_UTF8)


def _records(source: int, path: str) -> Iterator[Part]:
    rows = read_rows(path)
    while records := list(islice(rows, RECORDS)):
        yield Part(source, records=records)
