"""What is kept of a domain when the next one comes: a few of its rows, each as likely as any other."""

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..data.files import read_rows
from ..data.tokens import TokenizedRows
from ..files import write_text

Row = tuple[str, int]  # file, and row in it


def reservoir(stream: Iterable[Row], size: int, *, seed: int, name: str) -> list[Row]:
    """`size` items of a stream of any length, read once, each kept with the same probability (Vitter's Algorithm R).

    The same seed and name keep the same.

    >>> reservoir([("a", row) for row in range(1, 4)], 5, seed=0, name="letters")
    [('a', 1), ('a', 2), ('a', 3)]
    """
    draw, kept = drawing(seed, name), list[Row]()
    for count, item in enumerate(stream, 1):
        if len(kept) < size:
            kept.append(item)
        elif (place := draw.randrange(count)) < size:
            kept[place] = item
    return sorted(kept)


def drawing(seed: int, name: str) -> random.Random:
    """What draws a domain's memory."""
    return random.Random(hashlib.sha256(f"{seed} {name}".encode()).digest())


def rows_of(rows: TokenizedRows) -> list[Row]:
    """The rows of files that were made into rows to train on, each once, in their order."""
    return list(dict.fromkeys(rows.origins()))


def remembered(rows: TokenizedRows, kept: Sequence[Row]) -> TokenizedRows:
    """Those of `rows` that stand in memory."""
    wanted = set(kept)
    return TokenizedRows.of([row for row in rows if (row.file, row.row) in wanted])


def write(kept: Sequence[Row], sources: Iterable[str], file: Path) -> None:
    """Write the rows in memory as they stand in the data: to read, and for another run to train on."""
    wanted = set(kept)
    found = [raw.fields for path in sources for raw in read_rows(path) if (raw.file, raw.row) in wanted]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, "".join(json.dumps(fields, ensure_ascii=False, default=str) + "\n" for fields in found))
