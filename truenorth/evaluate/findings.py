"""All that `truenorth evaluate` found of a model, as rows of a table and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..train.evidence import short
from .forgetting import Compared, Divergence, Texts
from .intervals import Interval
from .reward_bench import SCORES, Ranked, Ranking
from .win_rate_text import told


@dataclass(frozen=True, slots=True)
class Line:
    """A number as it is shown: of the model, of the reference, and the change."""

    name: str
    model: str
    reference: str = ""
    change: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was measured; None, or nothing, where it was not asked for."""

    model: str
    reference: str | None
    ranked: Ranked | None = None
    kl: Divergence | None = None
    texts: Texts | None = None
    facts: Compared | None = None
    tasks: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict[str, Mapping[str, Interval]])

    def to_dict(self) -> dict[str, Any]:
        """As JSON: only what was measured."""
        found: dict[str, Any] = {"model": self.model, "reference": self.reference}
        if self.ranked is not None:
            found["pairs"] = self.ranked.to_dict()
        for name, part in (("kl", self.kl), ("texts", self.texts), ("facts", self.facts)):
            if part is not None:
                found[name] = asdict(part)
        if self.tasks:
            found["tasks"] = {task: {m: asdict(value) for m, value in of.items()} for task, of in self.tasks.items()}
        return found

    def lines(self) -> list[Line]:
        """Every number with its 95 % interval, but those by length and by subset."""
        found = list[Line]()
        for ranking in self.ranked.rankings if self.ranked else ():
            found += _of_ranking(ranking)
        if self.kl is not None:
            found.append(Line("KL, nats per answer", spoken(self.kl.per_answer)))
            found.append(Line("KL, nats per token", spoken(self.kl.per_token)))
        if self.texts is not None:
            found.append(_compared("texts, nats per token", self.texts.per_token))
            found.append(_compared("texts, nats per byte", self.texts.per_byte))
        if self.facts is not None:
            found.append(_compared("facts right", self.facts, share=True))
        for task, metrics in self.tasks.items():
            found += [Line(f"{task}, {name}", spoken(value)) for name, value in metrics.items()]
        return found


def _of_ranking(ranking: Ranking) -> list[Line]:
    by = SCORES[ranking.score]
    beside = [told(one) if one is not None else "" for one in (ranking.accuracy_of_reference, ranking.accuracy_gained)]
    found = [Line(f"right by {by}", told(ranking.whole.accuracy), *beside)]
    if (mean := ranking.mean_over_subsets) is not None:
        found.append(Line("  mean over subsets", f"{100 * mean:.1f}\u202f%"))
    found.append(Line("  margin", spoken(ranking.whole.margin)))
    if (calibration := ranking.calibration) is not None:
        chance = f"{100 * calibration.error_if_calibrated:.1f}\u202f% if calibrated"
        found.append(Line("  calibration error", told(calibration.error), change=chance))
        found.append(Line("  surer than right by", told(calibration.overconfidence)))
    return found


def _compared(name: str, found: Compared, *, share: bool = False) -> Line:
    say = told if share else spoken
    parts = [say(one) if one is not None else "" for one in (found.model, found.reference, found.change)]
    return Line(name, *parts)


def spoken(found: Interval) -> str:
    """A number with its interval.

    >>> spoken(Interval(1.5, 1.25, 1.75, 9))
    '1.5 (1.25 to 1.75)'
    """
    return f"{short(found.value)} ({short(found.low)} to {short(found.high)})"
