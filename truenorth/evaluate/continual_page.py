"""A run over domains on one page: heat maps of what was kept after each domain, the comparison, the ratios."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..files import write_text
from ..train.evidence import percent, short
from .continual import FILE, SUM, Continual, Matrix, summary
from .continual_findings import findings
from .page import environment
from .plots import STAND_INS, WIDTH, drawing

TITLES = {  # way -> what the page calls it, and what it is
    SUM: ("Sum of adapters", "an adapter for each domain, their sum by fitted or given ratios"),
    "average": ("Plain average", "the same adapters with equal ratios, whose sum is 1"),
    "plain_sum": ("Plain sum", "the same adapters, each with the ratio 1"),
    "routing": ("Routing by name", "each domain by its own adapter: the name of the domain must be known"),
    "sequential": ("Sequential", "one adapter trained on from domain to domain"),
    "replay": ("Replay", "the same, with the memories of earlier domains among the rows"),
    "joint": ("Joint", "one adapter on the rows of all domains at once"),
}
SUMS = {
    "average": "Average",
    "forgetting": "Forgetting",
    "backward_transfer": "Backward transfer",
    "forward_transfer": "Forward transfer",
}
HIGH, LEFT, TOP = 34, 96, 24  # CSS pixels: of a cell, for the names of rows, for those of columns
NARROWEST, EDGE = 60, 8  # a cell; what is left free at the right and below


def is_continual(run_directory: Path) -> bool:
    """Whether the run there went over domains, to its end."""
    return (run_directory / FILE).is_file()


def write_continual(run_directory: Path) -> Path:
    """Write report.html of a run over domains, and give its path. The same numbers give the same bytes."""
    found, out = Continual.read(run_directory), run_directory / "report.html"
    folders = sorted(folder for folder in (run_directory / "domains").glob("*") if (folder / "report.html").exists())
    write_text(out, render(found, [f"domains/{folder.name}/report.html" for folder in folders]))
    return out


def render(found: Continual, reports: Sequence[str]) -> str:
    """The page; `reports` are the addresses of the domains' own."""
    measures = list(dict.fromkeys(name for own in found.ways.values() for name in own))
    return environment().get_template("continual.html.j2").render(
        headline=headline(found),
        found=found,
        findings=findings(found),
        titles=TITLES,
        reports=list(zip(found.domains, reports, strict=False)),
        sums=list(SUMS.values()),
        tables=[(measure, _table(found, measure)) for measure in measures],
        maps=[(measure, _maps(found, measure)) for measure in measures],
        ratios=[[short(ratio) for ratio in fit.ratios] for fit in found.fits],
        say=partial(_say, "accuracy"),
    )  # fmt: skip


def headline(found: Continual) -> str:
    """What was kept of all domains, in a sentence."""
    names = f"{', '.join(found.domains[:-1])} and {found.domains[-1]}"
    if (matrix := found.ways.get(SUM, {}).get("accuracy")) is None:
        return f"{names} in one adapter"
    sums = summary(matrix)
    lost = sums["forgetting"]
    kept = f"{_points(lost)} forgotten" if lost >= 0 else f"the earlier ones gained {_points(-lost)}"
    return f"{names} in one adapter: {percent(sums['average'])} of held-out pairs are ranked right, {kept}"


def lines(found: Continual) -> list[str]:
    """The end of a run in a few lines of plain text."""
    told = [headline(found), ""]
    for measure in dict.fromkeys(name for own in found.ways.values() for name in own):
        told.append(f"{measure.capitalize():<18}{''.join(f'{name:>20}' for name in SUMS.values())}")
        for way, cells in _table(found, measure):
            told.append(f"  {way:<16}{''.join(f'{cell:>20}' for cell in cells)}")
    for finding in findings(found):
        told += [f"! {finding.title}. {finding.sentence}", f"  Turn: {finding.setting}"]
    return [
        *told,
        "Ratios: " + ", ".join(f"{n} {r:.3g}" for n, r in zip(found.domains, found.fits[-1].ratios, strict=True)),
    ]


def _table(found: Continual, measure: str) -> list[tuple[str, list[str]]]:
    """A row for each way: what it is called, and its sums as text."""
    rows = [(way, summary(own[measure])) for way, own in found.ways.items() if measure in own]
    return [
        (TITLES[way][0], [_change(measure, name, sums[name]) if name in sums else "" for name in SUMS])
        for way, sums in rows
    ]


def _maps(found: Continual, measure: str) -> list[tuple[str, str, Markup]]:
    """Way, what it is, and its heat map, all on one scale."""
    every = [value for own in found.ways.values() for row in own.get(measure, ()) if row for value in row]
    ends = (min(0.5, *every), 1.0) if measure == "accuracy" else (min(every), max(every))
    return [
        (*TITLES[way], Markup(heat_map(own[measure], found.domains, measure, ends)))
        for way, own in found.ways.items()
        if measure in own
    ]


def heat_map(matrix: Matrix, domains: Sequence[str], measure: str, ends: tuple[float, float]) -> str:
    """R as an `<svg>` element: a row after each domain, a column for each; darker is better."""
    names = ["before", *(f"after {name}" for name in domains)]
    rows = [(name, row) for name, row in zip(names, matrix, strict=True) if row is not None]
    said = "; ".join(f"{name}: {', '.join(_say(measure, value) for value in row)}" for name, row in rows)
    label = f"{measure} of {', '.join(domains)}. {said}."
    draw = partial(_draw, rows, domains, measure, ends)
    return drawing(draw, f"{measure} {said}", label, _size(len(rows), len(domains)))


def _size(rows: int, columns: int) -> tuple[int, int]:
    """Width and height of a heat map in CSS pixels."""
    return max(WIDTH, LEFT + NARROWEST * columns + EDGE), TOP + HIGH * rows + EDGE


def _draw(
    rows: Sequence[tuple[str, Sequence[float]]],
    domains: Sequence[str],
    measure: str,
    ends: tuple[float, float],
    figure: Figure,
) -> None:
    axes, (width, height) = figure.add_axes((0, 0, 1, 1)), _size(len(rows), len(domains))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    wide = (width - LEFT - EDGE) / len(domains)
    for column, name in enumerate(domains):
        place = LEFT + wide * (column + 0.5), TOP - 8
        axes.text(*place, _fitting(name, 10), ha="center", color=STAND_INS["muted"])
    for line, (name, values) in enumerate(rows):
        middle = TOP + HIGH * (line + 0.5)
        axes.text(LEFT - 8, middle, _fitting(name, 15), ha="right", va="center", color=STAND_INS["muted"])
        for column, value in enumerate(values):
            share = (value - ends[0]) / ((ends[1] - ends[0]) or 1.0)
            corner = LEFT + wide * column + 1, TOP + HIGH * line + 1
            tint = 0.06 + 0.5 * share  # so that text on it can be read in light and in dark
            box = Rectangle(corner, wide - 2, HIGH - 2, facecolor=STAND_INS["plain"], alpha=tint, linewidth=0)
            axes.add_patch(box)
            centre = corner[0] + wide / 2 - 1, middle
            axes.text(*centre, _say(measure, value), ha="center", va="center", color=STAND_INS["ink"])


def _fitting(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}\u2026"


def _say(measure: str, value: float) -> str:
    return percent(value) if measure == "accuracy" else short(value)


def _change(measure: str, name: str, value: float) -> str:
    """A sum as text: of accuracy the average in percent, differences in points of it."""
    if measure != "accuracy":
        return short(value)
    return f"{100 * value:.1f} %" if name == "average" else _points(value)


def _points(value: float) -> str:
    return f"{100 * value:.1f} points".replace("-", "\u2212")
