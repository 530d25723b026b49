"""Curves as inline SVG. Colours are the page's CSS variables, so that one drawing serves light, dark and print."""

import hashlib
import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from ..train.evidence import Series, percent, short, smooth

NO_POINTS = Series((), ())
Colour = Literal["chosen", "rejected", "plain", "run1", "run2", "run3", "run4", "run5", "run6"]

# matplotlib wants colours, the page wants variables: these stand for them until the SVG is written.
STAND_INS = {
    "chosen": "#010101",
    "rejected": "#020202",
    "plain": "#030303",
    "muted": "#040404",
    "ink": "#070707",
    "grid": "#050505",
    "card": "#060606",
    **{f"run{i}": f"#1{i}1{i}1{i}" for i in range(1, 7)},
}
WIDTH, HEIGHT = 360, 190  # CSS pixels at a scale of 1: about a phone's width, so that text is never scaled down
FONT_SIZE = 10.5
SMOOTH_SHARE = 0.06  # of the points, twice: enough to see a trend, too little to hide a spike
MOST_POINTS = 400  # of a line; more are thinned to the ends of each bin, which keeps every spike
DROPPED = re.compile(
    "|".join(
        (
            r"<\?xml.*?\?>",
            r"<!DOCTYPE.*?>",
            r"<metadata>.*?</metadata>",
            r"<style.*?</style>",  # it would reach the whole page
            r" font-family: [^;]*;",  # the page has its own
            r' xmlns[:a-z]*="[^"]*"',
            r' id="[A-Za-z0-9.]+_\d+"',  # figure_1, LineCollection_1: not unique among several drawings on a page
        )
    ),
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Line:
    """One metric of a chart: every training step, and the evaluations with their intervals where there are some."""

    name: str
    colour: Colour
    train: Series
    held_out: Series = NO_POINTS
    low: Series = NO_POINTS
    high: Series = NO_POINTS
    exact: bool = False  # a setting rather than a measurement: nothing to average

    @property
    def last(self) -> float:
        """What the legend says: the last evaluation, else the end of the moving average."""
        if len(self.held_out):
            return self.held_out.values[-1]
        return self.average.values[-1]

    @property
    def first(self) -> float:
        """The value of the same kind at the start."""
        return self.held_out.values[0] if len(self.held_out) else self.average.values[0]

    @property
    def average(self) -> Series:
        """The moving average of the training steps."""
        width = 1 if self.exact else max(1, round(SMOOTH_SHARE * len(self.train)))
        return Series(self.train.steps, tuple(smooth(smooth(self.train.values, width), width)))


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over steps that share a unit."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    share: bool = False  # values in [0, 1], shown in percent
    level: float | None = None  # a value to compare with, drawn as a thin line (chance, zero)
    log: tuple[float, float] | None = None  # ends of a logarithmic axis; None: a linear one, as far as the lines go
    faint: bool = True  # every step behind the average; off where several runs would lie on one another

    @property
    def label(self) -> str:
        """The chart in words, for who cannot see it."""
        ends = (f"{line.name} from {self.say(line.first)} to {self.say(line.last)}" for line in self.lines)
        return f"{self.title}, {self.unit}: {'; '.join(ends)}."

    @property
    def legend(self) -> list[tuple[str, str, str]]:
        """(colour, name, last value) of each line."""
        return [(line.colour, line.name, self.say(line.last)) for line in self.lines]

    def say(self, value: float) -> str:
        """A value as the axis writes it."""
        return percent(value) if self.share else short(value)


def svg(chart: Chart) -> str:
    """The chart as an `<svg>` element: the same records give the same bytes. Nothing global changes."""

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0.125, 0.125, 0.86, 0.845))
        _frame(axes, chart)
        for line in chart.lines:
            _draw(axes, line, faint=chart.faint and not line.exact)

    return drawing(draw, chart.title, chart.label)


def drawing(draw: Callable[[Figure], None], title: str, label: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> str:
    """What `draw` puts on a figure of this size, in CSS pixels, as an `<svg>` element with a spoken label."""
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": title, "svg.fonttype": "none", "font.size": FONT_SIZE}):
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72)
        draw(figure)
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _page_svg(out.getvalue(), label, size)


def thin(series: Series) -> Series:
    """At most MOST_POINTS points: the least and the greatest of each bin, in their order."""
    if len(series) <= MOST_POINTS:
        return series
    size = math.ceil(2 * len(series) / MOST_POINTS)
    kept: list[int] = []
    for start in range(0, len(series), size):
        points = range(start, min(start + size, len(series)))
        kept += sorted({min(points, key=series.values.__getitem__), max(points, key=series.values.__getitem__)})
    return Series(tuple(series.steps[i] for i in kept), tuple(series.values[i] for i in kept))


def bare(axes: Axes) -> None:
    """No frame but a thin line below and those of the grid."""
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(STAND_INS["grid"])
    axes.tick_params(length=0, pad=5, colors=STAND_INS["muted"], labelsize=FONT_SIZE)
    axes.grid(axis="y", color=STAND_INS["grid"], linewidth=0.8)
    axes.set_axisbelow(True)


def _frame(axes: Axes, chart: Chart) -> None:
    bare(axes)
    if chart.log is None:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
    else:
        axes.set_yscale("log")
        axes.set_ylim(*chart.log)
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(partial(_tick, chart)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.annotate(
        "step", (0, 0), (-5, -5), "axes fraction", "offset points", ha="right", va="top", color=STAND_INS["muted"]
    )
    if chart.level is not None:
        axes.axhline(chart.level, color=STAND_INS["muted"], linewidth=0.9, dashes=(4, 3))


def _tick(chart: Chart, value: float, _: int) -> str:
    return chart.say(value)


def _draw(axes: Axes, line: Line, *, faint: bool) -> None:
    colour, card = STAND_INS[line.colour], STAND_INS["card"]
    if len(line.train):
        raw, mean = thin(line.train), thin(line.average)
        if faint:
            axes.plot(raw.steps, raw.values, color=colour, linewidth=0.8, alpha=0.28)
        axes.plot(mean.steps, mean.values, color=colour, linewidth=2.0, solid_capstyle="round")
    else:
        axes.plot(line.held_out.steps, line.held_out.values, color=colour, linewidth=2.0)
    if len(line.low) and line.low.steps == line.high.steps:
        axes.vlines(line.low.steps, line.low.values, line.high.values, color=colour, linewidth=1.4, zorder=4)
    if len(line.held_out):
        marks = axes.plot(line.held_out.steps, line.held_out.values, "o", color=colour, markersize=6.5, zorder=5)
        marks[0].set_markerfacecolor(card)
        marks[0].set_markeredgewidth(1.6)


def _page_svg(drawn: str, label: str, size: tuple[int, int]) -> str:
    """matplotlib's file as an element of a page: no prologue, no foreign ids, colours by variable, a spoken label."""
    for name, colour in STAND_INS.items():
        drawn = drawn.replace(colour, f"var(--{name})")
    drawn = DROPPED.sub("", drawn).strip()
    own = hashlib.sha256(drawn.encode()).hexdigest()[:8]  # matplotlib's ids are of shapes, which charts share
    drawn = re.sub(r'( id="| xlink:href="#|url\(#)', rf"\g<1>d{own}-", drawn)
    quoted = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    opening = f'<svg role="img" aria-label="{quoted}" viewBox="0 0 {size[0]} {size[1]}">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, drawn, count=1)
