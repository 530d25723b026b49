"""Draw docs/fast-slow-domains.svg: the mean reward over domains that each way ends with, seed by seed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from fast_slow_points import Found, over_seeds
from pictures import GRID, INK, picture

GREEN, RUST, BLUE = "#1f6f5c", "#b4552d", "#4b5fa8"
WAYS: Mapping[str, tuple[str, str]] = {  # of the csv -> name, colour; from above
    "cofs, simplex": ("COFS-DPO, simplex", RUST),
    "cofs, simplex, unseen": ("simplex, memory unseen", RUST),
    "cofs, box": ("COFS-DPO, box", RUST),
    "cofs, box, unseen": ("box, memory unseen", RUST),
    "plain sum": ("ratios all 1", BLUE),
    "average": ("equal ratios, sum 1", BLUE),
    "routing": ("routing by name", BLUE),
    "sequential": ("sequential DPO", GREEN),
    "replay": ("DPO with replay", GREEN),
    "joint": ("joint DPO", GREEN),
}
PANELS = {  # of the csv -> title
    "2 domains": "two domains, 16 steps",
    "4 domains": "four domains, 16 steps",
    "2 domains, 64 steps": "two domains, 64 steps",
}
LEFT, WIDE, GAP = 0.21, 0.235, 0.03  # shares of the figure's width


def draw_domains(found: Found) -> None:
    with picture("fast-slow-domains", height=3.6) as figure:
        for place, (part, title) in enumerate(PANELS.items()):
            axes = figure.add_axes((LEFT + place * (WIDE + GAP), 0.1, WIDE, 0.78))
            axes.set_title(f"reward, {title}", loc="left", color=INK, fontsize=9)
            _points(axes, found, part)
            axes.set_yticks(range(len(WAYS)), [name for name, _ in WAYS.values()] if place == 0 else [])


def _points(axes: Any, found: Found, part: str) -> None:
    """A row for each way: a ring for each seed, a bar at their mean."""
    for line, (way, (_, colour)) in enumerate(WAYS.items()):
        values = list(over_seeds(found, part=part, arm=way, at="all", name="reward average").values())
        axes.plot(values, [line] * len(values), "o", color=colour, markersize=4.5, markerfacecolor="none")
        if values:
            axes.plot([np.mean(values)] * 2, [line - 0.3, line + 0.3], color=colour, linewidth=2)
    axes.set_ylim(len(WAYS) - 0.5, -0.5)
    axes.tick_params(length=0, colors=INK, labelsize=9)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.spines[["top", "left", "right", "bottom"]].set_visible(False)
