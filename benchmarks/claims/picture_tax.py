"""Draw docs/alignment-tax.svg: reward against what facts it costs, and both along the sweep of alpha."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pictures import INK, frame, picture
from tax_points import Found, Key
from tax_tables import of_family

GREEN, RUST, BLUE, VIOLET = "#1f6f5c", "#b4552d", "#2f6db5", "#7a4fa3"
LINES: Mapping[str, tuple[str, str]] = {  # family -> colour, line; none where points differ in more than a knob
    "AdamW, learning rates": (INK, "-"),
    "AdamW, betas": (INK, "--"),
    "AdamW averaged with SFT": (GREEN, "-"),
    "AdamW, moving averages": (GREEN, ":"),
    "AdamW and SFT by HMA": (GREEN, ""),
    "OnDARE, released": (RUST, ""),
    "OnTIES, released": (BLUE, ""),
    "OnTIES, written": (VIOLET, ""),
}
SWEPT = {("OnDARE, released", "1"): ("OnDARE, keep 1", RUST), ("OnTIES, released", "0.1"): ("OnTIES, keep 0.1", BLUE)}


def draw(found: Found) -> None:
    with picture("alignment-tax", height=4.0) as figure:
        left, right = figure.add_axes((0.06, 0.14, 0.5, 0.76)), figure.add_axes((0.66, 0.14, 0.32, 0.76))
        _frontiers(left, found)
        _alphas(right, found)
        for axes in (left, right):
            frame(axes)


def _frontiers(axes: Any, found: Found) -> None:
    """Means over seeds of each setting, those of one family on a line."""
    start = found[Key("SFT")]
    for family, (colour, line) in LINES.items():
        groups = dict.fromkeys(key.group for key in found if of_family(key, family))
        points = sorted((100 * (1 - _mean(found, g, "right")), _mean(found, g, "reward")) for g in groups)
        if points:
            shown = {"marker": "o", "markersize": 4} if line else {"marker": "D", "markersize": 5}
            axes.plot(*zip(*points, strict=True), color=colour, label=family, linestyle=line or "none", **shown)
    axes.plot(100 * (1 - start["right"]), start["reward"], "*", color="black", markersize=10, label="SFT")
    axes.set_xscale("log", subs=[])
    axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axes.set_xlabel("facts wrong when drawn at temperature 1, %", color=INK)
    axes.set_title("oracle reward", loc="left", color=INK, fontsize=10)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower left", bbox_to_anchor=(0.1, 0))


def _alphas(axes: Any, found: Found) -> None:
    """Reward, and the share of right facts, by the share of the task vector that is added."""
    for (arm, keep), (name, colour) in SWEPT.items():
        groups = {float(key.pull): key for key in _swept(found, arm, keep)}
        for measure, line in (("reward", "-"), ("right", "--")):
            values = [_mean(found, groups[pull], measure) for pull in sorted(groups)]
            label = f"{name}: {'reward' if measure == 'reward' else 'right facts'}"
            axes.plot(sorted(groups), values, line, color=colour, marker="o", markersize=3, label=label)
    axes.set_xscale("log")
    axes.set_xlabel("alpha x steps: task vectors added", color=INK)
    axes.set_title("reward and right facts", loc="left", color=INK, fontsize=10)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)


def _swept(found: Found, arm: str, keep: str) -> Iterator[Key]:
    """The groups of the sweep, at the learning rate with a tax."""
    groups = dict.fromkeys(key.group for key, point in found.items() if key.arm == arm and point)
    for key in groups:
        if (key.loss, key.rate, key.keep, key.every) == ("dpo", "0.001", keep, "1"):
            yield key


def _mean(found: Found, group: Key, name: str) -> float:
    return float(np.mean([point[name] for key, point in found.items() if key.group == group and point]))
