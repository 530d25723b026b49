"""Which curves a run's metrics give: the known ones in an order that reads as a story, then every other metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..clients import DRIFT, LOSS
from ..train.evidence import Record, number, series
from .calibration import PREFIX
from .plots import Chart, Colour, Line

BOOKKEEPING = frozenset(
    {"judge/confidence", "step", "split", "tokens", "seconds", "prompts", "count", "epoch"}
)  # no curves
EXACT = frozenset({"learning_rate"})  # set, not measured
BOUNDS = ("/low", "/high")  # of an evaluation's interval


@dataclass(frozen=True, slots=True)
class Planned:
    title: str
    unit: str
    metrics: tuple[tuple[str, str, Colour], ...]  # metric, name in the legend, colour
    share: bool = False
    level: float | None = None


def _of_each_kind(name: str) -> tuple[tuple[str, str, Colour], ...]:
    return (
        (f"{name}/chosen", "chosen", "chosen"),
        (f"{name}/rejected", "rejected", "rejected"),
        (f"{name}/demonstrations", "demonstrations", "plain"),
    )


PLAN = (
    Planned("Loss", "nats per prompt", (("loss", "loss", "plain"),)),
    Planned("Accuracy", "pairs ranked as the data do", (("rewards/accuracies", "accuracy", "plain"),), True, 0.5),
    Planned(
        "Accuracy over all pairs",
        "held-out pairs ranked as the data do",
        (("judge/accuracies", "accuracy", "plain"),),
        True,
    ),
    Planned(
        "Calibration error",
        "distance between sure and right",
        (("judge/calibration_error", "error", "plain"),),
        True,
    ),
    Planned("Reward margin", "chosen minus rejected", (("rewards/margins", "margin", "plain"),), level=0.0),
    Planned("Distance from the reference", "KL on own samples, nats", (("kl/sampled", "KL", "plain"),)),
    Planned("Drift from the reference", "log-ratio on the rows, nats", (("kl/initial", "drift", "plain"),), level=0.0),
    Planned("Log-probabilities", "nats per response", _of_each_kind("logps")),
    Planned("Implicit rewards", "beta × log-ratio", _of_each_kind("rewards"), level=0.0),
    Planned("Lengths", "tokens per response", _of_each_kind("lengths")),
    Planned("Gradient norm", "before the clip", (("grad_norm", "norm", "plain"),)),
    Planned("Drift between clients", "spread of their gradients", ((DRIFT, "drift", "plain"),)),
    Planned("Learning rate", "per step", (("learning_rate", "rate", "plain"),)),
)
OF_ROUNDS = (  # logged once a round, of the answers that it draws
    Planned(
        "Judge's scores",
        "of a round's answers",
        (("rewards/judge", "mean", "plain"), ("rewards/best", "best", "chosen")),
    ),
    Planned(
        "Wins",
        "share, against answers of",
        (
            ("wins/initial", "the start", "plain"),
            ("wins/previous", "the round before", "chosen"),
            ("wins/magnet", "the magnet", "rejected"),
        ),
        True,
        0.5,
    ),
    Planned(
        "Distance of a round",
        "KL on its answers, nats, to",
        (
            ("kl/initial", "the start", "plain"),
            ("kl/round", "the round before", "chosen"),
            ("kl/magnet", "the magnet", "rejected"),
        ),
        level=0.0,
    ),
    Planned(
        "Exploitability",
        "wins, at least, if at rest",
        (("exploitability", "by what the magnet says", "plain"),),
        level=0.0,
    ),
    Planned("Entropy", "nats per answer", (("entropy", "drawn", "plain"),)),
    Planned("Lengths of answers", "tokens", (("lengths/sampled", "drawn", "plain"),)),
    Planned(
        "Variety",
        "share",
        (
            ("diversity", "answers of a prompt that differ", "chosen"),
            ("repetition", "word triples said before", "rejected"),
            ("ended", "answers that end by themselves", "plain"),
        ),
        True,
    ),
)


def charts(records: Sequence[Record]) -> list[Chart]:
    """The charts that these records can fill; a metric with a single point is no curve."""
    drawn: list[Chart] = []
    for planned in (*OF_ROUNDS, *PLAN):
        line_of = _line_of_rounds if planned in OF_ROUNDS else _line
        lines = tuple(line_of(records, *metric) for metric in planned.metrics)
        if lines := tuple(line for line in lines if _drawable(line)):
            drawn.append(Chart(planned.title, planned.unit, lines, planned.share, planned.level))
    for name in _other_metrics(records):
        line = _line(records, name, "value", "plain")
        if _drawable(line):
            drawn.append(Chart(name, "", (line,)))
    return drawn


RUN_COLOURS: tuple[Colour, ...] = ("run1", "run2", "run3", "run4", "run5", "run6")
COMPARED = (  # not the loss, nor margins: other methods and other betas measure them on other scales
    Planned("Accuracy", "pairs ranked as the data do", (("rewards/accuracies", "", "plain"),), True, 0.5),
    Planned("Distance from the reference", "KL on own samples, nats", (("kl/sampled", "", "plain"),)),
    Planned("Log-probability of the chosen", "nats per response", (("logps/chosen", "", "plain"),)),
    Planned("Log-probability of the rejected", "nats per response", (("logps/rejected", "", "plain"),)),
    Planned("Drift from the reference", "log-ratio on the rows, nats", (("kl/initial", "", "plain"),), level=0.0),
    Planned("Gradient norm", "before the clip", (("grad_norm", "", "plain"),)),
)


def overlaid(runs: Mapping[str, Sequence[Record]]) -> list[Chart]:
    """Charts of several runs by name, at most as many as RUN_COLOURS; what only some runs logged has fewer lines."""
    drawn: list[Chart] = []
    for planned in COMPARED:
        metric = planned.metrics[0][0]
        pairs = zip(runs.items(), RUN_COLOURS, strict=False)
        lines = (_line(records, metric, name, colour) for (name, records), colour in pairs)
        if kept := tuple(line for line in lines if _drawable(line)):
            drawn.append(Chart(planned.title, planned.unit, kept, planned.share, planned.level, faint=False))
    return drawn


def _line(records: Sequence[Record], metric: str, name: str, colour: Colour) -> Line:
    held_out, low, high = (series(records, metric + end, split="eval") for end in ("", *BOUNDS))
    return Line(name, colour, series(records, metric), held_out, low, high, exact=metric in EXACT)


def _line_of_rounds(records: Sequence[Record], metric: str, name: str, colour: Colour) -> Line:
    nothing = series([], metric)
    return Line(name, colour, series(records, metric, split="round"), nothing, nothing, nothing, exact=True)


def _drawable(line: Line) -> bool:
    return len(line.train) > 1 or len(line.held_out) > 1


def _other_metrics(records: Sequence[Record]) -> list[str]:
    """Metrics that the plan does not know, in alphabetical order."""
    known = BOOKKEEPING | {metric for planned in PLAN for metric, _, _ in planned.metrics}
    of_steps = [record for record in records if record.get("split") != "round"]
    logged = {name for record in of_steps for name, value in record.items() if number(value) == number(value)}
    return sorted(name for name in logged - known if not name.endswith(BOUNDS) and not name.startswith((PREFIX, LOSS)))
