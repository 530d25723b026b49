"""Draw docs/self-play.svg: the duality gap over a run, and the ways of the styles' shares."""

from typing import Any

import numpy as np
from pictures import GRID, INK, frame, picture
from self_play_game import STYLES
from self_play_tables import Found, seeds_of, series

from truenorth.world.oracles import EQUILIBRIUM

LINES = {  # arm -> colour, line
    "MPO": ("#1f6f5c", "-"),
    "MPO-RT": ("#1f6f5c", "--"),
    "magnet stays": ("#8a6d1d", "-"),
    "magnet every step": ("#b4552d", "-"),
    "SPPO": ("#b4552d", "--"),
    "online DPO": ("#4b5fa8", "-"),
    "no self-play": ("#7d8590", "--"),
}
WAYS = ("MPO", "magnet stays", "magnet every step")
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])  # of STYLES in the triangle


def draw(found: Found) -> None:
    with picture("self-play", height=3.6) as figure:
        left, right = figure.add_axes((0.06, 0.15, 0.52, 0.75)), figure.add_axes((0.68, 0.08, 0.3, 0.82))
        _gaps(left, found)
        _ways(right, found)


def _gaps(axes: Any, found: Found) -> None:
    """Means over seeds, and each seed faintly."""
    for arm, (colour, line) in LINES.items():
        runs = [series(found, arm, seed, "gap") for seed in seeds_of(found, arm)]
        for run in runs:
            axes.plot(list(run), list(run.values()), line, color=colour, linewidth=0.5, alpha=0.3)
        if runs:
            steps = [step for step in runs[0] if all(step in run for run in runs)]
            means = [np.mean([run[step] for run in runs]) for step in steps]
            axes.plot(steps, means, line, color=colour, linewidth=1.8, label=arm)
    axes.set_ylim(0, 0.95)  # room for the legend
    axes.set_xlabel("steps of 8 prompts, 8 answers each", color=INK)
    axes.set_title("duality gap", loc="left", color=INK, fontsize=10)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, ncols=2)
    frame(axes)


def _ways(axes: Any, found: Found) -> None:
    """The mixtures of styles of one seed, as places in a triangle; a cross at the equilibrium."""
    axes.plot(*CORNERS[[0, 1, 2, 0]].T, color=GRID)
    for corner, style, (x, y) in zip(CORNERS, STYLES, ((0, -12), (0, -12), (0, 4)), strict=True):
        axes.annotate(style, corner, (x, y), textcoords="offset points", ha="center", color=INK, fontsize=8)
    for arm in WAYS:
        if seeds := seeds_of(found, arm):
            shares = np.array([list(series(found, arm, seeds[0], style).values()) for style in STYLES]).T
            places = shares / shares.sum(-1, keepdims=True) @ CORNERS
            axes.plot(*places.T, color=LINES[arm][0], linewidth=1, marker=".", markersize=3)
    axes.plot(*(np.array([EQUILIBRIUM[style] for style in STYLES]) @ CORNERS), "x", color=INK, markersize=8)
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title("shares of the styles", loc="left", color=INK, fontsize=10)
