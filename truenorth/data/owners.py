"""Whose each row is: the values of a column that names clients, read from the files again."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from ..errors import DataError, did_you_mean
from .files import RawRow, read_rows
from .tokens import TokenizedRows


def check_column(paths: Iterable[str], column: str) -> None:
    """Raise DataError where the first row of a source has no such column: before its rows are tokenised."""
    for path in paths:
        for raw in islice((raw for raw in read_rows(path) if raw.fields is not None), 1):
            _value(raw, column)


def owners_of(rows: TokenizedRows, paths: Sequence[str], column: str) -> list[str]:
    """[R] the value of `column` in the row of `paths` that each of `rows` was made of, as text.

    A row of a file may have made several, or none. Raises DataError where one has no value, or one that is no text and
    no number.
    """
    found, wanted = list[str](), rows.origins()
    origin = next(wanted, None)
    for raw in _rows(paths):
        if origin is None:
            break
        if (raw.file, raw.row) != origin:
            continue
        value = _value(raw, column)
        while origin == (raw.file, raw.row):
            found.append(value)
            origin = next(wanted, None)
    if origin is not None:
        raise DataError(f"{origin[0]}, row {origin[1]} is not there any more: the data changed while they were read.")
    return found


def _rows(paths: Sequence[str]) -> Iterator[RawRow]:
    for path in paths:
        yield from read_rows(path)


def _value(raw: RawRow, column: str) -> str:
    fields = raw.fields or {}
    if column not in fields:
        raise DataError(
            f"{raw.file}, row {raw.row} has no column {column!r} that would say whose it is (clients.column)."
            f"{did_you_mean(column, fields)} It has {', '.join(fields) or 'none'}."
        )
    value = fields[column]
    if not isinstance(value, str | int | float) or value == "":
        raise DataError(
            f"{raw.file}, row {raw.row}: {column} must name a client by text or a number, got {value!r}. Name another "
            "column, or leave such rows out of the file."
        )
    return str(value)
