"""Draw docs/self-play-rewards.svg: reward and entropy against KL."""

from typing import Any

import numpy as np
from pictures import INK, frame, picture
from self_play_rewards_tables import Found, places, rewards_at, runs_of

LINES = {  # arm -> colour, line
    "MPO, long": ("#1f6f5c", "-"),
    "MPO, long, magnet stays": ("#1f6f5c", ":"),
    "MPO-RT": ("#7a9a4e", "-"),
    "online DPO": ("#4b5fa8", "-"),
    "RLOO": ("#b4552d", "-"),
    "RLOO, beta 0.25, long": ("#b4552d", ":"),
}
FURTHEST = 3.0  # nats that are drawn


def draw(found: Found) -> None:
    with picture("self-play-rewards", height=3.6) as figure:
        left, right = figure.add_axes((0.06, 0.15, 0.42, 0.75)), figure.add_axes((0.56, 0.15, 0.42, 0.75))
        _frontiers(left, found)
        _entropies(right, found)
        for axes in (left, right):
            axes.set_xlim(0, FURTHEST)
            axes.set_xlabel("KL(policy || start), nats per answer", color=INK)
            frame(axes)


def _frontiers(axes: Any, found: Found) -> None:
    """Every point, and the mean over seeds of the hulls, as far as every seed went."""
    for arm, (colour, line) in LINES.items():
        runs = [places(points) for points in runs_of(found, arm).values()]
        for run in runs:
            axes.plot(*zip(*run, strict=True), ".", color=colour, markersize=3, alpha=0.4)
        if runs:
            kls = np.linspace(0, min(FURTHEST, *(max(kl for kl, _ in run) for run in runs)), 80)
            means = [np.mean([*rewards_at(found, arm, kl).values()]) for kl in kls]
            axes.plot(kls, means, line, color=colour, linewidth=1.8, label=arm.replace(", long", ""))
    axes.set_title("oracle reward", loc="left", color=INK, fontsize=10)
    axes.legend(frameon=False, labelcolor=INK, loc="lower right")


def _entropies(axes: Any, found: Found) -> None:
    """Every run, step by step."""
    for arm, (colour, line) in LINES.items():
        for points in runs_of(found, arm).values():
            axes.plot(*zip(*places(points, "entropy"), strict=True), line, color=colour, linewidth=1)
    axes.set_title("entropy, nats per answer", loc="left", color=INK, fontsize=10)
