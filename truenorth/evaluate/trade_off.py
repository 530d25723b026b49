"""Models that were measured on the same rows: what each is worth, and which of them no other one beats."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.table import Table

from ..train.evidence import percent, short
from .intervals import Interval, bootstrap_mean, paired_difference, proportion

REWARDS = ("reward", "accuracy")  # what alignment is for; the first that was measured stands for it
ABILITY = "ability"  # what the model could do before
TITLES = {
    "reward": ("Reward", "mean of the judge's, over prompts"),
    "accuracy": ("Accuracy", "pairs whose better answer is likelier"),
    "margin": ("Margin", "log-prob of the better answer minus the worse one's, nats"),
    "ability": ("Ability", "log-prob of the held-out texts, nats per token"),
}
SEED = 0  # of the resamples


@dataclass(frozen=True)
class Point:
    """One model: its name, the value of the setting that was swept (None: it was not merged), and its numbers."""

    name: str
    value: object
    rows: Mapping[str, Sequence[float]]  # measure -> a number for each row

    @cached_property
    def measured(self) -> dict[str, Interval]:
        """The mean of each measure over its rows, with its 95 % interval."""
        return {
            name: proportion(sum(values), len(values)) if name == "accuracy" else bootstrap_mean(values, SEED)
            for name, values in self.rows.items()
        }

    def change(self, start: "Point", measure: str) -> Interval:
        """By how much it differs from `start` on the same rows."""
        return paired_difference(start.rows[measure], self.rows[measure], SEED)


@dataclass(frozen=True)
class TradeOff:
    """Merges along one setting, beside the models that they were made of."""

    setting: str
    points: Sequence[Point]  # the base first where there is one, then the models, then the merges by value

    @property
    def measures(self) -> list[str]:
        return [name for name in TITLES if name in self.points[0].rows]

    @property
    def reward(self) -> str | None:
        """The measure that stands for reward, None where none was taken."""
        return next((name for name in REWARDS if name in self.measures), None)

    @property
    def merges(self) -> list[Point]:
        return [point for point in self.points if point.value is not None]

    @property
    def axes(self) -> list[str]:
        """The measures that are traded off, or the only one."""
        return [name for name in (ABILITY, self.reward) if name is not None and name in self.measures]

    def frontier(self) -> list[Point]:
        """The merges that no other merge equals or beats in reward and ability, better in one of them at least."""
        places = [tuple(point.measured[axis].value for axis in self.axes) for point in self.merges]
        return [
            point for point, own in zip(self.merges, places, strict=True) if not any(_beats(o, own) for o in places)
        ]


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def draw(found: TradeOff) -> Table:
    """The points as a table of 80 columns: what is traded off, and by how much it differs from the first point."""
    start, best = found.points[0], found.frontier()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    shown = [measure for measure in found.measures if measure != "margin"]
    for measure in shown:
        table.add_column(measure, justify="right", no_wrap=True)
        table.add_column("Δ", justify="right", no_wrap=True, style="dim")
    for point in found.points:
        cells = [cell for measure in shown for cell in (value_of(point, measure), _briefly(point, start, measure))]
        table.add_row(point.name + " *" * (point in best), *cells, style="cyan" if point.value is None else "")
    return table


def value_of(point: Point, measure: str) -> str:
    """A measure's mean, as text."""
    mean = point.measured[measure].value
    return percent(mean) if measure == "accuracy" else short(mean)


def change_of(point: Point, start: Point, measure: str) -> str:
    """How it differs from that of `start`, with the 95 % interval; empty for `start` itself."""
    if point is start:
        return ""
    change = point.change(start, measure)
    return f"{_signed(change.value)} ({_signed(change.low)} to {_signed(change.high)})"


def _briefly(point: Point, start: Point, measure: str) -> str:
    """The same with half the width of the interval, to its digits."""
    if point is start:
        return ""
    change, scale = point.change(start, measure), 100 if measure == "accuracy" else 1
    half = scale * (change.high - change.low) / 2
    digits = 0 if measure == "accuracy" else max(0, math.ceil(math.log10(3 / half))) if half > 0 else 3
    return f"{scale * change.value:+.{digits}f} ±{half:.{digits}f}".replace("-", "\u2212")


def _signed(value: float) -> str:
    return f"+{short(value)}" if value > 0 else short(value)
