"""A run in one sentence, in four numbers, and in a table of before and after."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from ..errors import DataError
from ..train.evidence import Change, Evidence, Finding, number, percent, short
from ..train.modules import SECOND
from . import round_text
from .artifacts import Artifacts, BeforeAfter
from .intervals import proportion

ACCURACY = ("rewards/accuracies", "accuracy")  # as metrics.jsonl names it, and as people do
# A metric whose name holds one of these lies in [0, 1] and is shown in percent.
SHARES = ("accurac", "rate", "share", "confidence", "calibration")
BOUNDS = ("/low", "/high")


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with its 95 % interval, where one was measured."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, slots=True)
class Row:
    """One metric before and after training."""

    name: str
    share: bool
    before: Measured | None
    after: Measured | None

    @property
    def chance(self) -> float | None:
        """What a coin would reach; None where a coin has no say."""
        return 0.5 if self.name.removeprefix(SECOND) in ACCURACY else None

    def place(self, value: float) -> float:
        """Where a value lies on the row's line, in [0, 1]: shares from 0 to 100 %, others from 0 to the largest."""
        if self.share:
            return value
        ends = [0.0]
        for m in (self.before, self.after):
            ends += [m.value, *((m.low, m.high) if m.bounded else ())] if m else []
        return (value - min(ends)) / (max(ends) - min(ends) or 1.0)

    def say(self, measured: Measured | None) -> str:
        """`71 %` or `1.83`; a dash where it was not measured."""
        if measured is None:
            return "–"
        return percent(measured.value) if self.share else short(measured.value)

    def interval(self, measured: Measured | None) -> str:
        """`66 to 76 %`; empty where there is none."""
        if measured is None or not measured.bounded:
            return ""
        if self.share:
            return f"{100 * measured.low:.0f} to {percent(measured.high)}"
        return f"{short(measured.low)} to {short(measured.high)}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the big numbers at the top."""

    label: str
    value: str
    details: tuple[str, ...] = ()


def held_out_accuracy(artifacts: Artifacts) -> Row | None:
    """Held-out accuracy before and after: of the summary, else of the first and the last evaluation logged."""
    if artifacts.summary.evaluation:
        found = (row for row in rows(artifacts.summary.evaluation) if row.name in ACCURACY)
        if row := next(found, None):
            return row
    logged = [dict(r) for r in artifacts.of_result if r.get("split") == "eval" and ACCURACY[0] in r]
    if not logged:
        return None
    before = _measured(logged[0], ACCURACY[0]) if len(logged) > 1 else None
    return Row(ACCURACY[0], True, before, _measured(logged[-1], ACCURACY[0]))


def rows(measured: BeforeAfter) -> list[Row]:
    """The metrics of an evaluation, in the order in which they were written."""
    names = [name for name in {**measured.before, **measured.after} if not name.endswith((*BOUNDS, "count"))]
    return [
        Row(name, any(s in name for s in SHARES), _measured(measured.before, name), _measured(measured.after, name))
        for name in names
    ]


def headline(artifacts: Artifacts) -> str:
    """What the run did, in one sentence with its numbers."""
    summary, accuracy = artifacts.summary, held_out_accuracy(artifacts)
    evidence = Evidence(artifacts.of_result)
    title, steps = (
        re.split(r"[:,]", summary.title)[0] or name(artifacts),
        _steps(summary.steps or evidence.last_step),
    )
    kl, margin, loss = sampled_kl(artifacts), evidence.change("rewards/margins"), evidence.change("loss")
    if (rounds := round_text.headline(title, artifacts.of_result)) is not None:
        said = rounds
    elif kl is not None:
        said = f"{title} moved the policy {short(kl)} nats from the reference in {steps}"
    elif margin:
        said = f"{title} took the reward margin from {short(margin.start)} to {short(margin.end)} in {steps}"
    elif loss:
        said = f"{title} took the loss from {short(loss.start)} to {short(loss.end)} in {steps}"
    else:
        said = f"{title} trained for {steps}"
    if accuracy is None or accuracy.after is None:
        return f"{said}."
    if summary.rounding is not None and summary.rounding.drowned:
        return f"{said}; held-out accuracy is not known: {summary.rounding.said}."
    change = f"{accuracy.say(accuracy.before)} → " if accuracy.before else ""
    interval = f" (95\u202f%: {accuracy.interval(accuracy.after)})" if accuracy.after.bounded else ""
    return f"{said}; held-out accuracy {change}{accuracy.say(accuracy.after)}{interval}."


def _steps(n: int) -> str:
    return f"{n:,} step{'' if n == 1 else 's'}"


def sampled_kl(artifacts: Artifacts) -> float | None:
    """KL(policy || reference) on the policy's own samples, where it was measured."""
    values = Evidence(artifacts.of_result).held_out("kl/sampled").values
    after = artifacts.summary.evaluation.after if artifacts.summary.evaluation else {}
    value = number(after.get("kl/sampled", values[-1] if values else None))
    return value if math.isfinite(value) else None


def name(artifacts: Artifacts) -> str:
    """The method's name, from wherever the run says it."""
    return artifacts.summary.method or str(artifacts.recipe.get("method", "The run"))


def figures(artifacts: Artifacts) -> list[Figure]:
    """The four big numbers; fewer where they were not measured."""
    evidence, summary = Evidence(artifacts.of_result), artifacts.summary
    found: list[Figure] = []
    accuracy = held_out_accuracy(artifacts)
    if accuracy and accuracy.after:
        found.append(_figure(accuracy))
        if summary.rounding is not None and summary.rounding.drowned:
            found = [replace(found[0], details=(summary.rounding.said,))]
    if world := _first_of_world(artifacts):
        found.append(world)
    if wins := _wins(artifacts):
        found.append(wins)
    if (kl := sampled_kl(artifacts)) is not None:
        found.append(Figure("Distance from the reference", short(kl), ("nats of KL per response",)))
    for label, metric, unit in (
        ("Reward margin", "rewards/margins", "chosen minus rejected"),
        ("Loss", "loss", "nats"),
        ("Drift on the rows", "kl/initial", "nats from the reference"),
    ):
        if change := evidence.change(metric):
            found.append(Figure(label, short(change.end), _came_from(change, unit)))
    seconds = summary.seconds or 0.0
    speed = (f"{summary.tokens_per_second:,.0f} tokens per second",) if summary.tokens_per_second else ()
    if seconds:
        found.insert(3, Figure("Time in steps", duration(seconds), speed))
    return found[:4]


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(42.4), duration(754), duration(9000)
    ('42 s', '12 min 34 s', '2 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def verdict(findings: list[Finding]) -> tuple[str, str]:
    """The worst level among the findings, and how many of each there are, in words."""
    problems, watches = (sum(f.level == level for f in findings) for level in ("problem", "watch"))
    fine = len(findings) - problems - watches
    if not problems and not watches:
        return "good", f"Nothing to change: {_count(fine, 'check')}, all well."
    parts = [_count(problems, "problem")] * bool(problems) + [_count(watches, "thing") + " to watch"] * bool(watches)
    well = f"; {_count(fine, 'check')} well" if fine else ""
    return "problem" if problems else "watch", f"{' and '.join(parts)}{well}."


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _came_from(change: Change, unit: str) -> tuple[str, ...]:
    return unit, f"was {short(change.start)}"


def _first_of_world(artifacts: Artifacts) -> Figure | None:
    """The first number of the embedded world, such as the oracle's reward."""
    world = artifacts.summary.world
    return next((_figure(row) for row in rows(world) if row.after), None) if world else None


def _wins(artifacts: Artifacts) -> Figure | None:
    """Of the last round of self-play, where it was compared with the first."""
    rounds = [record for record in artifacts.of_result if record.get("split") == "round"]
    told = round_text.wins_against_start(rounds[-1]) if rounds else None
    return Figure("Wins against the start", told[0], told[1:]) if told else None


def _figure(row: Row) -> Figure:
    before = (f"was {row.say(row.before)}",) if row.before else ()
    bounded = row.after is not None and row.after.bounded
    interval = (f"95\u202f%: {row.interval(row.after)}",) if bounded else ()
    return Figure(title(row.name), row.say(row.after), before + interval)


TITLES = {
    **dict.fromkeys(ACCURACY, "Held-out accuracy"),
    "loss": "Held-out loss",
    "rewards/margins": "Reward margin",
    "kl/sampled": "Distance from the reference",
    "judge/accuracies": "Accuracy over all pairs",
    "judge/confidence": "How sure the judge is",
    "judge/calibration_error": "Calibration error",
}


def told(measured: BeforeAfter) -> list[Row]:
    """The rows for the table of before and after: what has a name of its own, an interval, or no curve."""
    return [
        row
        for row in rows(measured)
        if row.name.removeprefix(SECOND) in TITLES
        or "/" not in row.name
        or any(m is not None and m.bounded for m in (row.before, row.after))
    ]


def title(metric: str) -> str:
    """A metric's name as a heading.

    >>> title("oracle_reward"), title("rewards/accuracies")
    ('Oracle reward', 'Held-out accuracy')
    """
    if metric.startswith(SECOND):  # an evaluation at the end begins with the module that is the result
        return f"{title(metric.removeprefix(SECOND))}, other module"
    if metric in TITLES:
        return TITLES[metric]
    words = metric.replace("_", " ").replace("/", ": ")
    return words[:1].upper() + words[1:]


def _measured(values: Mapping[str, JsonValue] | Mapping[str, object], metric: str) -> Measured | None:
    """`metric` with its bounds: given, or Wilson's where it is an accuracy and only its count is known."""
    if metric not in values:
        return None
    value = number(values[metric])
    if math.isnan(value):
        raise DataError(f"summary.json: {metric} is {values[metric]!r}, a number is needed.")
    low, high, count = (number(values.get(key)) for key in (metric + BOUNDS[0], metric + BOUNDS[1], "count"))
    if metric in ACCURACY and math.isnan(low) and count >= 1:
        interval = proportion(value * count, int(count))
        low, high = interval.low, interval.high
    return Measured(value, low, high)
