"""Draw docs/exo-frontier.svg: the frontiers of EXO and DPO, and how their policies differ from the optimum."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from frontier_tables import Found
from measured import Optimum
from pictures import INK, frame, picture

EXO, DPO = "#1f6f5c", "#b4552d"
LINES = {  # arm -> name, colour, line
    ("exo_rw", 8): ("EXO-rw, 8 answers", EXO, "-"),
    ("dpo_rw", 8): ("DPO-rw, 8 answers", DPO, "-"),
    ("exo", 2): ("EXO, pairs", EXO, "--"),
    ("dpo", 2): ("DPO, pairs", DPO, "--"),
}
MIDDLE = 0.5  # the beta of the second panel


def draw(found: Found) -> None:
    with picture("exo-frontier", height=3.6) as figure:
        left, right = figure.add_axes((0.06, 0.15, 0.5, 0.75)), figure.add_axes((0.66, 0.15, 0.32, 0.75))
        _frontiers(left, found)
        _ratios(right, found)
        for axes in (left, right):
            frame(axes)


def _frontiers(axes: Any, found: Found) -> None:
    """Every point, and the mean over seeds of the hulls, as far as every seed has points."""
    known = next(iter(found.optima.values()))
    optima = [Optimum(known.rows, known.log_sft, float(t)) for t in np.geomspace(0.05, 20, 60)]
    axes.plot([o.kl() for o in optima], [o.reward() for o in optima], color=INK, linestyle=":", label="optimum")
    for arm, (name, colour, line) in LINES.items():
        places = [found.places(arm, seed) for seed in found.seeds]
        axes.plot(*zip(*(p for one in places for p in one), strict=True), ".", color=colour, markersize=3, alpha=0.4)
        far = min(max(kl for kl, _ in one) for one in places)
        kls = np.linspace(0, far, 80)
        axes.plot(kls, [np.mean(found.rewards_at(arm, kl)) for kl in kls], line, color=colour, label=name)
    axes.set_xlim(0, 1.6)
    axes.set_xlabel("KL(policy || SFT), nats per answer", color=INK)
    axes.set_title("oracle reward", loc="left", color=INK, fontsize=10)
    axes.legend(frameon=False, labelcolor=INK, loc="lower right")


def _ratios(axes: Any, found: Found) -> None:
    """The last policies' log ratio to pi*, by the rank of answers under pi*."""
    for arm in (("exo_rw", 8), ("dpo_rw", 8)):
        name, colour, _ = LINES[arm]
        seeds: Sequence[Sequence[float]] = found.last(arm, MIDDLE, "log_ratio_by_rank")
        ranks = (np.arange(len(seeds[0])) + 0.5) / len(seeds[0])
        for one in seeds:
            axes.plot(ranks, one, color=colour, linewidth=0.6, alpha=0.4)
        axes.plot(ranks, np.mean(seeds, 0), color=colour, marker="o", markersize=4, label=name)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("SFT answers by rank under the optimum", color=INK)
    axes.set_title("log( policy / optimum )", loc="left", color=INK, fontsize=10)
