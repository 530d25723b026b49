"""What a run over a stream lost against the best fixed module in hindsight, estimated, over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from markupsafe import Markup
from pydantic import Field

from ..train.evidence import Series, short
from .account import Written
from .plots import Chart, Line, svg

BOUND = (
    "The best of so many snapshots bounds the loss of the best module from above, so the regret is estimated from "
    "below."
)


@dataclass(frozen=True, slots=True)
class Hindsight:
    """Losses of the same rows, met once and met again."""

    steps: Sequence[int]  # [N] 1-based, growing
    online: Sequence[float]  # [N] nats per prompt: of each step's rows, before they were trained on
    fixed: Mapping[int, Sequence[float]]  # snapshot's steps -> [N] the same rows' under it
    taken: int = 0  # steps in all; 0: as many as the last of these

    def regret(self) -> list[float]:
        """[N] nats per prompt, summed over the steps so far: online loss minus that of the snapshot that is best for
        them. Where not all steps were scored, their mean stands for those between.

        >>> Hindsight([1, 2], [3.0, 2.0], {0: [3.0, 3.0], 2: [1.0, 1.5]}).regret()
        [2.0, 2.5]
        """
        met = list(accumulate(self.online))
        best = [min(sums) for sums in zip(*(accumulate(losses) for losses in self.fixed.values()), strict=True)]
        pairs = zip(self.steps, met, best, strict=True)
        return [(online - fixed) * step / n for n, (step, online, fixed) in enumerate(pairs, 1)]

    def best(self) -> int:
        """The snapshot with the lowest loss over all steps, the earlier one of two that are equal."""
        return min(self.fixed, key=lambda step: (sum(self.fixed[step]), step))

    def to_dict(self) -> dict[str, object]:
        """regret.json."""
        regret, best = self.regret(), self.best()
        return {
            "unit": "nats per prompt, summed over steps",
            "steps": list(self.steps),
            "online": list(self.online),
            "snapshots": [{"step": step, "loss": list(losses)} for step, losses in self.fixed.items()],
            "best": best,
            "regret": regret,
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """The regret in words."""
        last, best = self.taken or self.steps[-1], self.best()
        regret = self.regret()[-1] * last / self.steps[-1]
        n, scored = len(self.steps), "" if len(self.steps) == last else f", {len(self.steps):,} of them scored"
        online, fixed = sum(self.online) / n, sum(self.fixed[best]) / n
        return (
            f"Over {last:,} steps{scored}, each met before it was trained on, the loss was {short(online)} nats per "
            f"prompt; of {len(self.fixed)} snapshots that of step {best:,} would have had {short(fixed)}: a regret of "
            f"{short(regret)} nats, {short(regret / last)} a step. {BOUND}"
        )


class Snapshot(Written):
    step: int
    loss: list[float]


class Regret(Written):
    """regret.json as the report reads it."""

    steps: list[int]
    online: list[float]
    snapshots: list[Snapshot]
    best: int
    regret: list[float]
    sentence: str
    unit: str = Field(default="")

    def charts(self) -> list[Chart]:
        """Regret over time, and the two losses that it is the difference of."""
        fixed = next(snapshot.loss for snapshot in self.snapshots if snapshot.step == self.best)
        lines = (
            Line("online, before training", "plain", self._mean(self.online), exact=True),
            Line(f"fixed, of step {self.best}", "chosen", self._mean(fixed), exact=True),
        )
        steps = tuple(self.steps)
        return [
            Chart(
                "Regret",
                self.unit,
                (Line("regret", "plain", Series(steps, tuple(self.regret)), exact=True),),
                level=0.0,
            ),
            Chart("Mean loss so far", "nats per prompt", lines),
        ]

    def drawn(self) -> list[tuple[Chart, Markup]]:
        """The charts as the page shows them."""
        return [(chart, Markup(svg(chart))) for chart in self.charts()]

    def _mean(self, losses: Sequence[float]) -> Series:
        sums = enumerate(accumulate(losses), 1)
        return Series(tuple(self.steps), tuple(total / n for n, total in sums))


def regret_in(directory: Path) -> Regret | None:
    """regret.json of a run directory, None where there is none."""
    file = directory / "regret.json"
    return Regret.model_validate_json(file.read_bytes()) if file.is_file() else None
