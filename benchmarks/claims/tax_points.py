"""alignment_tax.csv: a line for each model that was measured."""

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

FILE = Path(__file__).parent / "alignment_tax.csv"
NUMBERS = ("reward", "kl", "facts", "right", "sft", "base", "tokens_per_answer")


@dataclass(frozen=True, slots=True)
class Key:
    """Which model a line is of, as text."""

    arm: str
    loss: str = ""
    beta: str = ""
    rate: str = ""
    keep: str = ""
    pull: str = ""
    every: str = ""
    seed: str = ""
    after: str = ""  # the merge or moving average of the run; none: its end

    @property
    def group(self) -> "Key":
        """Without the seed."""
        return replace(self, seed="")

    def __str__(self) -> str:
        return " ".join(filter(None, astuple(self)))


Found = dict[Key, dict[str, float]]  # a run that ended without numbers has none


def read(file: Path) -> Found:
    """The lines of the csv; none if there is no file."""
    if not file.exists():
        return {}
    names = [field.name for field in fields(Key)]
    with file.open(newline="") as lines:
        return {
            Key(**{name: line[name] for name in names}): {n: float(line[n]) for n in NUMBERS if line[n]}
            for line in csv.DictReader(lines)
        }


def append(file: Path, points: Mapping[Key, Mapping[str, float]]) -> None:
    """Lines at the end of the csv, in one write: another process may be writing too."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    with file.open("a") as out:
        if os.fstat(out.fileno()).st_size == 0:
            writer.writerow([*(field.name for field in fields(Key)), *NUMBERS])
        for key, point in points.items():
            writer.writerow([*astuple(key), *(f"{point[n]:.4f}" if n in point else "" for n in NUMBERS)])
        out.write(text.getvalue())
