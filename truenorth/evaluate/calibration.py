"""Whether a judge is right as often as it says: pairs by how sure it was of them, against how often it was right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..processes import Group
from ..recipe import Objective
from ..types import Candidates
from .plots import FONT_SIZE, STAND_INS, bare, drawing

BINS = 10  # of pairs by how sure the judge was of them, a probability between 1/2 and 1
PREFIX = "reliability/"  # of the metrics of a bin, which no curve shows


class PairsOfJudge:
    """How sure a judge was of each pair of held-out answers, and whether it was right."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []  # [3, pairs] sure, right, weight

    @torch.no_grad()
    def add(self, candidates: Candidates, objective: Objective) -> None:
        """Add all pairs of a micro-batch that the data do not call even. A prompt's pairs weigh as much as the prompt.

        Does nothing where the objective trains no judge.
        """
        wins = objective.wins(candidates)
        if wins is None:
            return
        k = wins.shape[1]
        better, worse = torch.triu_indices(k, k, offset=1, device=wins.device).unbind()  # best first
        weight = candidates.columns.get("weight", wins.new_ones(len(wins)))[:, None].expand(-1, len(better))
        if (scores := candidates.rewards) is not None:
            weight = weight * (scores[:, better] > scores[:, worse])
        weight = weight / (weight > 0).sum(1, keepdim=True).clamp(min=1)
        p = wins[:, better, worse].float()
        right = 0.5 * ((p > 0.5).float() + (p >= 0.5).float())
        self.parts.append(torch.stack([torch.maximum(p, 1 - p), right, weight.float()]).flatten(1).cpu())

    def measures(self, group: Group) -> dict[str, float]:
        """Accuracy over all pairs, how sure the judge was, the expected calibration error, and each bin.

        The error is the mean over pairs of |accuracy - confidence| of the pair's bin (Naeini et al. 2015).
        """
        parts = [part for of_process in group.gather(self.parts) for part in of_process]
        if not parts or not (whole := torch.cat(parts, dim=1).double())[2].any():
            return {}
        sure, right, weight = whole
        place = ((sure - 0.5) * 2 * BINS).long().clamp(max=BINS - 1)
        zeros = torch.zeros(BINS, dtype=torch.float64)
        share, sures, rights = (
            zeros.index_add(0, place, values * weight / weight.sum())
            for values in (torch.ones_like(sure), sure, right)
        )
        found = {
            "judge/accuracies": float(rights.sum()),
            "judge/confidence": float(sures.sum()),
            "judge/calibration_error": float((rights - sures).abs().sum()),
        }
        for i in torch.nonzero(share)[:, 0].tolist():
            bin_ = {"sure": sures[i] / share[i], "right": rights[i] / share[i], "share": share[i]}
            found |= {f"{PREFIX}{i}/{name}": float(value) for name, value in bin_.items()}
        return found


@dataclass(frozen=True, slots=True)
class Reliability:
    """The picture of the bins. A judge that is right as often as it says lies on the diagonal."""

    bins: Sequence[tuple[float, float, float]]  # sure, right, share of the pairs
    title: str = "Reliability"
    unit: str = "held-out pairs that the judge gets right, by how sure it is"
    lines: tuple[()] = ()  # it has one, without a name

    @property
    def legend(self) -> list[tuple[str, str, str]]:
        error = sum(share * abs(right - sure) for sure, right, share in self.bins)
        return [("plain", "calibration error", f"{100 * error:.1f}\u202f%")]

    @property
    def label(self) -> str:
        said = (f"{100 * right:.0f} % where {100 * sure:.0f} % sure" for sure, right, _ in self.bins)
        return f"{self.title}: right in {'; '.join(said)}."

    def svg(self) -> str:
        """As an `<svg>` element of a page."""

        def draw(figure: Figure) -> None:
            axes = figure.add_axes((0.125, 0.125, 0.86, 0.845))
            bare(axes)
            axes.plot([50, 100], [50, 100], color=STAND_INS["muted"], linewidth=0.9, dashes=(4, 3))
            x, y, share = zip(*self.bins, strict=True)
            x, y = [100 * value for value in x], [100 * value for value in y]
            axes.plot(x, y, color=STAND_INS["plain"], linewidth=1.4)
            axes.scatter(x, y, [20 + 300 * s for s in share], color=STAND_INS["plain"], alpha=0.6, zorder=5)
            axes.set_xlim(48, 102)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter("{x:.0f}\u202f%")
            axes.annotate("sure", (1, 0), (0, 4), "axes fraction", "offset points", ha="right", size=FONT_SIZE)

        return drawing(draw, self.title, self.label)


def reliability(records: Sequence[Mapping[str, Any]]) -> Reliability | None:
    """The bins of the last evaluation that has some."""
    for record in reversed(records):
        places = [i for i in range(BINS) if f"{PREFIX}{i}/share" in record]
        if record.get("split") == "eval" and places:
            names = ("sure", "right", "share")
            return Reliability([tuple(float(record[f"{PREFIX}{i}/{n}"]) for n in names) for i in places])  # pyright: ignore[reportArgumentType]
    return None
