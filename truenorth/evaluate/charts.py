"""Which curves a run's metrics give: the known ones in an order that reads as a story, then every other metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..clients import DRIFT, LOSS
from ..train.evidence import Record, number, series
from ..train.modules import ORDER, by_module
from .calibration import PREFIX
from .plots import Chart, Colour, Line

BOOKKEEPING = frozenset(
    {"judge/confidence", "step", "split", "tokens", "seconds", "prompts", "count", "epoch"}
)  # no curves
EXACT = frozenset({"learning_rate", "chase/fast", "chase/swapped"})  # set, not measured
VARYING = ("chase/fast", "chase/swapped")  # drawn only where they are not the same all along
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
    Planned("Loss without the chase", "nats per prompt", (("loss/base", "loss", "plain"),)),
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
    Planned("Lead of the fast module", "its margin minus the other's", (("chase/gap", "lead", "plain"),), level=0.0),
    Planned("Which module is fast", "0: the first, 1: the second", (("chase/fast", "module", "plain"),)),
    Planned("Exchanges", "1: at the end of an interval both exchanged", (("chase/swapped", "exchanged", "plain"),)),
    Planned("Distance from the reference", "KL on own samples, nats", (("kl/sampled", "KL", "plain"),)),
    Planned("Drift from the reference", "log-ratio on the rows, nats", (("kl/initial", "drift", "plain"),), level=0.0),
    Planned(
        "Distance of the modules", "log-ratio to the other one, nats", (("kl/peer", "drift", "plain"),), level=0.0
    ),
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
    modules = by_module(records)
    others = [Planned(name, "", ((name, "value", "plain"),)) for name in _other_metrics(modules[0])]
    drawn: list[Chart] = []
    for planned in (*OF_ROUNDS, *PLAN, *others):
        of_each = [_lines(planned, of_module) for of_module in modules]
        if not of_each[0]:
            continue
        if len(modules) == 1 or of_each[0] == of_each[1]:  # such as the learning rate, which is of the run
            drawn.append(_chart(planned, of_each[0]))
        elif len(planned.metrics) == 1:
            pairs = zip(of_each, ORDER, RUN_COLOURS, strict=False)
            named = [replace(line, name=f"{name} module", colour=colour) for (line,), name, colour in pairs]
            drawn.append(_chart(planned, tuple(named)))
        else:
            drawn += [
                _chart(replace(planned, title=f"{planned.title}, {name} module"), lines)
                for lines, name in zip(of_each, ORDER, strict=True)
            ]
    return drawn


def _lines(planned: Planned, records: Sequence[Record]) -> tuple[Line, ...]:
    """Those that can be drawn."""
    line_of = _line_of_rounds if planned in OF_ROUNDS else _line
    return tuple(line for metric in planned.metrics if _drawable(line := line_of(records, *metric), metric[0]))


def _chart(planned: Planned, lines: tuple[Line, ...]) -> Chart:
    return Chart(planned.title, planned.unit, lines, planned.share, planned.level)


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
        if kept := tuple(line for line in lines if _drawable(line, metric)):
            drawn.append(Chart(planned.title, planned.unit, kept, planned.share, planned.level, faint=False))
    return drawn


def _line(records: Sequence[Record], metric: str, name: str, colour: Colour) -> Line:
    held_out, low, high = (series(records, metric + end, split="eval") for end in ("", *BOUNDS))
    return Line(name, colour, series(records, metric), held_out, low, high, exact=metric in EXACT)


def _line_of_rounds(records: Sequence[Record], metric: str, name: str, colour: Colour) -> Line:
    nothing = series([], metric)
    return Line(name, colour, series(records, metric, split="round"), nothing, nothing, nothing, exact=True)


def _drawable(line: Line, metric: str) -> bool:
    return (len(line.train) > 1 or len(line.held_out) > 1) and not (
        metric in VARYING and len(set(line.train.values)) == 1
    )


def _other_metrics(records: Sequence[Record]) -> list[str]:
    """Metrics that the plan does not know, in alphabetical order."""
    known = BOOKKEEPING | {metric for planned in PLAN for metric, _, _ in planned.metrics}
    of_steps = [record for record in records if record.get("split") != "round"]
    logged = {name for record in of_steps for name, value in record.items() if number(value) == number(value)}
    return sorted(name for name in logged - known if not name.endswith(BOUNDS) and not name.startswith((PREFIX, LOSS)))
