"""The csv of self_play.py and its tables."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from frontier import mean_and_error
from frontier_tables import head, row
from self_play_arms import ARMS, STEPS

FILE = Path(__file__).parent / "self_play.csv"
KEYS = ("arm", "seed", "step")
NUMBERS = ("fable", "gazette", "verse", "gap", "kl", "entropy", "distinct", "off")
HEADER = (*KEYS, *NUMBERS)
LAST = 20  # steps whose looks are taken together: what turns in a circle is not judged by one of them
Found = dict[tuple[str, int, int], dict[str, float]]  # by arm, seed and step


def read(file: Path) -> Found:
    """The lines of the csv; none if there is no file."""
    if not file.exists():
        return {}
    with file.open(newline="") as lines:
        return {
            (line["arm"], int(line["seed"]), int(line["step"])): {n: float(line[n]) for n in NUMBERS if line[n]}
            for line in csv.DictReader(lines)
        }


def seeds_of(found: Found, arm: str) -> list[int]:
    return sorted({seed for name, seed, _ in found if name == arm})


def series(found: Found, arm: str, seed: int, number: str) -> Mapping[int, float]:
    """Step -> number, where it was measured."""
    points = {step: point for (name, its, step), point in found.items() if (name, its) == (arm, seed)}
    return {step: points[step][number] for step in sorted(points) if number in points[step]}


def late(found: Found, arm: str, number: str = "gap") -> list[float]:
    """Each seed's mean over the looks of its last steps."""
    means = list[float]()
    for seed in seeds_of(found, arm):
        values = series(found, arm, seed, number)
        means.append(_mean([value for step, value in values.items() if step > max(values) - LAST]))
    return means


def print_tables(found: Found) -> None:
    """All of them in Markdown; nothing of a run that is not in the csv."""
    for title, lines in tables(found):
        print(f"\n{title}\n", *lines, sep="\n")


def tables(found: Found) -> Iterator[tuple[str, list[str]]]:
    yield "Duality gap", gaps(found)
    yield "At the end", ends(found, [arm.name for arm in ARMS])


def gaps(found: Found) -> list[str]:
    """Means over seeds with their standard errors."""
    steps = [*range(0, STEPS, 20), STEPS]
    lines = head(["run", "seeds", *(f"step {step}" for step in steps), f"last {LAST} steps", "from, to"])
    for arm in ARMS:
        if not (seeds := seeds_of(found, arm.name)):
            continue
        gap = [series(found, arm.name, seed, "gap") for seed in seeds]
        at = [said([one[step] for one in gap if step in one], ".2f") for step in steps]
        low_high = _range([value for one in gap for step, value in one.items() if step > max(one) - LAST])
        lines.append(row([arm.name, len(seeds), *at, said(late(found, arm.name), ".3f"), low_high]))
    return lines


def ends(found: Found, names: Sequence[str]) -> list[str]:
    """What was measured of the answers after the last step, and of the start."""
    numbers = ("kl", "entropy", "distinct", "off")
    lines = head(["run", "seeds", *numbers])
    for name in names:
        if seeds := seeds_of(found, name):
            last = [found[name, seed, max(s for n, i, s in found if (n, i) == (name, seed))] for seed in seeds]
            lines.append(row([name, len(seeds), *(said([p[n] for p in last if n in p], ".3f") for n in numbers)]))
    return lines


def said(values: Sequence[float], form: str) -> str:
    """Mean and standard error."""
    if not values:
        return ""
    mean, error = mean_and_error(values)
    return f"{mean:{form}} +- {error:{form}}" if len(values) > 1 else f"{mean:{form}}"


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f}, {max(values):.2f}" if values else ""


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
