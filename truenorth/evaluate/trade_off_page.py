"""A sweep on one page: the trade-off as a picture, every number with its interval, and how to write a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..files import write_text
from ..train.evidence import percent, short
from .page import environment
from .plots import STAND_INS, bare, drawing
from .trade_off import TITLES, Point, TradeOff, change_of, value_of

SIZE = (720, 400)  # CSS pixels
MARGINS = (0.075, 0.125, 0.90, 0.835)  # left, bottom, width, height as shares
MODELS = ("run2", "run3", "run4", "run5", "run6")  # colours of the models that were merged
LABELLED = 15  # merges; of more, those on the frontier and the ends have a label


@dataclass(frozen=True, slots=True)
class About:
    """What stands beside the numbers."""

    title: str  # of the merge
    paper: str
    formula: str
    settings: Sequence[tuple[str, str]]  # name, value
    command: str  # that writes a model


def write_page(found: TradeOff, about: About, out: Path) -> Path:
    """Write the page to the file `out`, and give its path."""
    best, start = found.frontier(), found.points[0]
    page = environment().get_template("trade_off.html.j2").render(
        headline=headline(found),
        about=about,
        start=start,
        measures=[(name, *TITLES[name]) for name in found.measures],
        axes=[TITLES[axis] for axis in found.axes],
        picture=Markup(picture(found)),
        rows=[
            (point, point in best, [(value_of(point, m), change_of(point, start, m)) for m in found.measures])
            for point in found.points
        ],
    )  # fmt: skip
    write_text(out, page)
    return out


def headline(found: TradeOff) -> str:
    """Which merges are worth a look."""
    names = ", ".join(point.name.partition("=")[2] for point in found.frontier()).replace("-", "\u2212")
    if len(found.axes) < 2:
        return f"{TITLES[found.axes[0]][0]} is highest at {found.setting} = {names}"
    return f"{len(found.frontier())} of {len(found.merges)} merges are beaten by none: {found.setting} = {names}"


def picture(found: TradeOff) -> str:
    """Reward over ability, or the only measure over the setting, as an `<svg>` element."""
    x, y = ([None, *found.axes])[-2:]
    ends = "; ".join(f"{p.name}: {', '.join(value_of(p, axis) for axis in found.axes)}" for p in found.points)
    label = f"{' and '.join(TITLES[axis][0] for axis in found.axes)} of each model. {ends}."
    return drawing(partial(_draw, found, x, y), found.setting, label, SIZE)


def _draw(found: TradeOff, x: str | None, y: str | None, figure: Figure) -> None:
    assert y is not None
    axes, merges = figure.add_axes(MARGINS), found.merges
    bare(axes)
    for axis, measure in ((axes.xaxis, x), (axes.yaxis, y)):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(partial(_tick, measure)))
    name = found.setting if x is None else f"{TITLES[x][0].lower()}, {TITLES[x][1]}"
    axes.set_xlabel(name, color=STAND_INS["muted"], loc="right")
    places = {p.name: (_x(p, place, x), p.measured[y].value) for place, p in enumerate(merges)}
    axes.plot(*zip(*places.values(), strict=True), color=STAND_INS["plain"], linewidth=1.4, alpha=0.5)
    best = found.frontier()
    for point in merges:
        mark = axes.plot(*places[point.name], "o", color=STAND_INS["plain"], markersize=8, zorder=5)[0]
        if point not in best:
            mark.set_markerfacecolor(STAND_INS["card"])
        if len(merges) <= LABELLED or point in best or point in (merges[0], merges[-1]):
            # the frontier falls to the right, what is beaten lies below it: beside the line there is room
            side = "right" if point in best else "left"
            _say(axes, point.name.partition("=")[2].replace("-", "\u2212"), places[point.name], "plain", side=side)
    for point, colour in zip([p for p in found.points if p.value is None], MODELS, strict=False):
        if x is None:
            axes.axhline(point.measured[y].value, color=STAND_INS[colour], linewidth=1.2, dashes=(4, 3))
            _say(axes, point.name, (axes.get_xlim()[0], point.measured[y].value), colour)
        else:
            place = point.measured[x].value, point.measured[y].value
            axes.plot(*place, "D", color=STAND_INS[colour], markersize=7, zorder=6)
            _say(axes, point.name, place, colour)
    axes.margins(0.08, 0.1)


def _x(point: Point, place: int, measure: str | None) -> float:
    if measure is not None:
        return point.measured[measure].value
    return float(point.value) if isinstance(point.value, int | float) else float(place)


def _say(axes: Axes, text: str, place: tuple[float, float], colour: str, *, side: str = "below") -> None:
    offset = {"left": (-7, 5), "right": (7, 5), "below": (9, -13)}[side]
    end = "right" if side == "left" else "left"
    axes.annotate(text, place, offset, textcoords="offset points", ha=end, color=STAND_INS[colour], zorder=7)


def _tick(measure: str | None, value: float, _: int) -> str:
    return percent(value) if measure == "accuracy" else short(value)
