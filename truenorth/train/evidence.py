"""What a diagnosis rests on: series of logged metrics, how far each moved, and whether that is more than noise."""

import itertools
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Record = Mapping[str, object]  # one line of metrics.jsonl
Level = Literal["good", "watch", "problem"]

WINDOW_SHARE = 0.1  # of the logged steps: start and end are means over a tenth, since single batches are noisy
WINDOW_LEAST = 5  # points in a window, below which its spread says nothing
EARLY_SHARE = 0.05  # an evaluation within the first twentieth of the run stands for its start
NOISE = 3.0  # standard errors that a movement must exceed: windows are short and many metrics are looked at


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about a run, how serious it is, and the setting to turn (empty where there is nothing to do).

    Of several ways to turn one, joined by `, or `, each stands for itself.
    """

    level: Level
    title: str
    sentence: str
    setting: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """The finite values of one metric, in the order of the steps."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Change:
    """A metric at the start and at the end of a run."""

    start: float
    end: float
    error: float  # standard error of end - start; 0 where both come from the same held-out rows

    @property
    def by(self) -> float:
        return self.end - self.start

    @property
    def clear(self) -> bool:
        """Whether the movement is more than the batches' noise."""
        return abs(self.by) > NOISE * self.error


def series(records: Sequence[Record], name: str, *, split: str = "train") -> Series:
    """The metric `name` of one split. Values that are absent or not finite are no points of it.

    >>> series([{"step": 1, "split": "train", "loss": 0.7}, {"step": 1, "split": "eval", "loss": 0.8}], "loss")
    Series(steps=(1,), values=(0.7,))
    """
    points = [(number(r.get("step")), number(r.get(name))) for r in records if r.get("split", "train") == split]
    finite = [(int(step), value) for step, value in points if math.isfinite(step) and math.isfinite(value)]
    return Series(tuple(step for step, _ in finite), tuple(value for _, value in finite))


def number(value: object) -> float:
    """The value as a float; NaN where it is none (absent, text, true or false)."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Centred moving mean over `window` points, fewer at the ends, so that it has no lag.

    >>> smooth([0.0, 3.0, 0.0], 3)
    [1.5, 1.0, 1.5]
    """
    half, n = window // 2, len(values)
    sums = list(itertools.accumulate(values, initial=0.0))  # one pass, however wide the window
    ends = ((max(0, i - half), min(n, i + half + 1)) for i in range(n))
    return [(sums[end] - sums[start]) / (end - start) for start, end in ends]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The logged records of a run, and the settings that turn a number into advice."""

    records: Sequence[Record]
    beta: float | None = None  # None: the method has none
    max_grad_norm: float | None = None  # None: gradients are not clipped
    learning_rate: float | None = None  # as it was asked for; None: the largest that was logged
    stream: bool = False  # its rows came while it ran: there is no --epochs, and an end where no more came

    def train(self, name: str) -> Series:
        return series(self.records, name)

    def held_out(self, name: str) -> Series:
        return series(self.records, name, split="eval")

    @property
    def in_rounds(self) -> bool:
        """Of self-play, which refuse --epochs and --max-steps, and make their own rows."""
        return any(record.get("split") == "round" for record in self.records)

    @property
    def longer(self) -> str:
        """What would make the run longer."""
        if self.stream:
            return "more steps (as more rows come: --stream-idle, --max-steps)"
        return "more --rounds" if self.in_rounds else "more steps (--epochs, --max-steps)"

    @property
    def shorter(self) -> str:
        """What would make the run shorter."""
        if self.in_rounds:
            return "fewer --rounds"
        return "fewer steps (--max-steps)" if self.stream else "fewer steps (--epochs, --max-steps)"

    @property
    def balance(self) -> str:
        """What would take the advantage from long answers."""
        return "a judge that does not like length" if self.in_rounds else "rows balanced by length"

    def ended_at(self, step: int) -> str:
        """What would have ended the run at `step`."""
        return "fewer --rounds" if self.in_rounds else f"--max-steps {step}"

    @property
    def last_step(self) -> int:
        return max((step for step in self.train("loss").steps), default=0)

    def change(self, name: str) -> Change | None:
        """How far a metric moved: on the held-out rows if they were scored at the start, since those are the same
        rows each time, else over windows of training batches. None where there are too few points."""
        fixed = self.held_out(name)
        if len(fixed) >= 2 and fixed.steps[0] <= max(1, EARLY_SHARE * self.last_step):
            return Change(fixed.values[0], fixed.values[-1], 0.0)
        return self.train_change(name)

    def train_change(self, name: str) -> Change | None:
        """The same over windows of training batches alone."""
        values = self.train(name).values
        window = max(WINDOW_LEAST, round(WINDOW_SHARE * len(values)))
        if len(values) < 2 * window:
            return None
        start, end = values[:window], values[-window:]
        error = math.sqrt((statistics.variance(start) + statistics.variance(end)) / window)
        return Change(statistics.fmean(start), statistics.fmean(end), error)

    def lower_rate(self) -> str:
        """Advice to halve the learning rate, with numbers where it was logged."""
        rate = self._rate
        return f"--learning-rate {short(rate / 2)} (now {short(rate)})" if rate > 0 else "a lower --learning-rate"

    def higher_rate(self) -> str:
        """Advice to raise the learning rate three times, with numbers where it was logged."""
        rate = self._rate
        return f"--learning-rate {short(3 * rate)} (now {short(rate)})" if rate > 0 else "a higher --learning-rate"

    @property
    def _rate(self) -> float:
        """The recipe's: a run may end before its warm-up does."""
        return self.learning_rate or max(self.train("learning_rate").values, default=0.0)

    def higher_beta(self) -> str:
        """`, or --set beta=0.2 (now 0.1)`; empty for a method without beta."""
        return "" if self.beta is None else f", or --set beta={2 * self.beta:.3g} (now {self.beta:.3g})"


def percent(share: float) -> str:
    """A share in percent, with a narrow space that does not break.

    >>> percent(0.714).replace(chr(0x202f), " ")
    '71 %'
    """
    return f"{100 * share:.0f}\u202f%"


def short(value: float) -> str:
    """A number in at most four digits, with a true minus sign.

    >>> short(-97.31), short(5e-7), short(12000)
    ('−97.3', '5e-7', '12,000')
    """
    if value == 0 or not math.isfinite(value):
        text = f"{value:.0f}"
    elif abs(value) >= 100:
        text = f"{value:,.0f}"
    elif abs(value) < 1e-3:
        text = re.sub(r"e-0?", "e-", f"{value:.2g}")
    else:
        text = f"{value:.3g}"
    return text.replace("-", "−") if "e" not in text else text
