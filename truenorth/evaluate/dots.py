"""Numbers with their intervals, one below the other, as a picture."""

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..train.evidence import percent, short
from .intervals import Interval
from .plots import FONT_SIZE, STAND_INS, bare, drawing

Named = Sequence[tuple[str, Interval]]
WIDTH, STEP, FRAME = 360, 26, 40  # CSS pixels: of the picture, of a number, and around them
LABELS = 0.36  # share of the width


def dots(title: str, named: Named, *, level: float | None = None, share: bool = True) -> str:
    """An `<svg>` element. `level` is a value to compare with; with `share` values are shown in percent."""
    say = percent if share else short
    label = f"{title}: {'; '.join(f'{name} {say(i.value)} ({say(i.low)} to {say(i.high)})' for name, i in named)}."
    size = (WIDTH, FRAME + STEP * len(named))
    return drawing(partial(_draw, named, level, share), title, label, size)


def _draw(named: Named, level: float | None, share: bool, figure: Figure) -> None:
    height = FRAME + STEP * len(named)
    axes = figure.add_axes((LABELS, 26 / height, 0.97 - LABELS, 1 - FRAME / height))
    bare(axes)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=STAND_INS["grid"], linewidth=0.8)
    places = range(len(named) - 1, -1, -1)
    for place, (_, found) in zip(places, named, strict=True):
        axes.plot([found.low, found.high], [place, place], color=STAND_INS["plain"], linewidth=2.4, alpha=0.6)
        axes.plot([found.value], [place], "o", color=STAND_INS["plain"], markersize=7)
    if level is not None:
        axes.axvline(level, color=STAND_INS["muted"], linewidth=0.9, dashes=(4, 3))
    axes.set_ylim(-0.6, len(named) - 0.4)
    axes.set_yticks(list(places), [name for name, _ in named], size=FONT_SIZE)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))

    def tick(value: float, _: int) -> str:
        return percent(value) if share else short(value)

    axes.xaxis.set_major_formatter(FuncFormatter(tick))
