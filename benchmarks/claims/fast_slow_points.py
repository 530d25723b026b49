"""fast_slow.csv: a line for each number that was measured."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from frontier import mean_and_error
from points_file import merge

FILE = Path(__file__).parent / "fast_slow.csv"


@dataclass(frozen=True, slots=True)
class Key:
    """What a number is of, as text."""

    part: str
    arm: str
    rate: str
    seed: str
    at: str  # steps, domains that were learned, or words
    name: str


Found = Mapping[Key, float]


def read(file: Path) -> dict[Key, float]:
    """The numbers of the csv; none if there is no file."""
    if not file.exists():
        return {}
    names = [field.name for field in fields(Key)]
    with file.open(newline="") as lines:
        return {Key(**{name: line[name] for name in names}): float(line["value"]) for line in csv.DictReader(lines)}


def write(file: Path, found: Found) -> None:
    """Put these numbers into the csv."""
    header = [*(field.name for field in fields(Key)), "value"]
    merge(file, header, [[*astuple(key), f"{value:.5g}"] for key, value in found.items()], keys=len(fields(Key)))


def over_seeds(found: Found, **asked: str) -> dict[str, float]:
    """The numbers by seed, of what is `asked` for: all of a key but its seed."""
    return {key.seed: value for key, value in found.items() if all(getattr(key, n) == v for n, v in asked.items())}


def less(first: Mapping[str, float], second: Mapping[str, float]) -> list[float]:
    """The differences of the seeds that both have."""
    return [first[seed] - second[seed] for seed in first if seed in second]


def shown(values: Sequence[float], form: str = ".3f") -> str:
    """Mean and its standard error; empty where there is nothing."""
    if not values:
        return ""
    mean, error = mean_and_error(values)
    return f"{mean:{form}}" + (f" +- {error:{form.removeprefix('+')}}" if len(values) > 1 else "")
