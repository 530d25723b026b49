"""The csv files of the claims: a line for each point, the newest of those with one key."""

import csv
from collections.abc import Sequence
from pathlib import Path


def merge(file: Path, header: Sequence[str], lines: Sequence[Sequence[object]], *, keys: int) -> None:
    """Put `lines` into `file`, in place of those with the same first `keys` cells; others stay where they are."""
    before: list[list[str]] = []
    if file.exists():
        with file.open(newline="") as old:
            before = list(csv.reader(old))[1:]
    newest = {tuple(line[:keys]): line for line in [*before, *(list(map(str, line)) for line in lines)]}
    with file.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(newest.values())


def cells(point: dict[str, float], names: Sequence[str]) -> list[str]:
    """The point's numbers, empty where it has none of that name."""
    return [f"{point[name]:.4f}" if name in point else "" for name in names]
