"""Draw docs/fast-slow.svg: gradients that fade and those that do not, and a stream whose preference turns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fast_slow_points import Found
from pictures import INK, frame, picture

GREEN, RUST, BLUE = "#1f6f5c", "#b4552d", "#2f6db5"
NORMS = (  # arm, role, name, colour, line
    ("DPO", "fast", "DPO", INK, "-"),
    ("OFS-DPO", "fast", "fast, alpha 0.1", RUST, "-"),
    ("OFS-DPO", "slow", "slow, alpha 0.1", BLUE, "-"),
    ("OFS-DPO, alpha 0.5", "fast", "fast, alpha 0.5", RUST, "--"),
    ("OFS-DPO, alpha 0.5, speeds 0.9", "fast", "fast, alpha 0.5, speeds 0.9", RUST, ":"),
    ("OFS-DPO, alpha 0.5, speeds 0.9", "slow", "slow, alpha 0.5, speeds 0.9", BLUE, ":"),
)
SHARES = {"fast": "share", "slow": "other share"}
WINDOW = 5  # steps that are averaged


def draw(found: Found, *, rate: str, turn: int) -> None:
    """`rate` and `turn` are of the stream: the learning rate that is drawn, and the step after which it turns."""
    with picture("fast-slow", height=3.4) as figure:
        axes = [figure.add_axes((left, 0.16, 0.26, 0.72)) for left in (0.06, 0.395, 0.73)]
        _norms(axes[0], found)
        _shares(axes[1], found)
        _stream(axes[2], found, rate, turn)
        for one in axes:
            frame(one)
            one.set_xlabel("step", color=INK)


def curve(found: Found, *, part: str, arm: str, name: str, rate: str | None = None) -> tuple[list[int], list[float]]:
    """Steps, and the mean over seeds at each of them."""
    by_step: dict[int, list[float]] = {}
    for key, value in found.items():
        if (key.part, key.arm, key.name) == (part, arm, name) and key.at.isdigit() and rate in (None, key.rate):
            by_step.setdefault(int(key.at), []).append(value)
    steps = sorted(by_step)
    return steps, [float(np.mean(by_step[step])) for step in steps]


def smooth(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """The mean of each value and those before it, `window` in all.

    >>> smooth([1.0, 3.0, 5.0], 2)
    [1.0, 2.0, 4.0]
    """
    return [float(np.mean(values[max(0, i + 1 - window) : i + 1])) for i in range(len(values))]


def _norms(axes: Any, found: Found) -> None:
    for arm, role, name, colour, line in NORMS:
        steps, values = curve(found, part="few", arm=arm, name=f"norm {role}")
        axes.plot(steps, smooth(values, 4), line, color=colour, label=name)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.004)  # room for the legend
    axes.set_title("gradient norm, 32 pairs", loc="left", color=INK, fontsize=10)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower left")


def _shares(axes: Any, found: Found) -> None:
    for arm, role, name, colour, line in NORMS:
        steps, values = curve(found, part="few", arm=arm, name=SHARES[role])
        axes.plot([0, *steps], [0.5, *values], line, color=colour, label=name)
    axes.set_title("mean sigmoid(-m), 32 pairs", loc="left", color=INK, fontsize=10)


def _stream(axes: Any, found: Found, rate: str, turn: int) -> None:
    for arm, colour in (("DPO", INK), ("OFS-DPO", RUST)):
        steps, values = curve(found, part="stream", arm=arm, name="loss", rate=rate)
        axes.plot(steps, smooth(values), color=colour, label=arm)
    axes.axvline(turn, color=INK, linewidth=0.8, linestyle=":")
    axes.set_title("online loss of a stream, nats", loc="left", color=INK, fontsize=10)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
