"""Exploitability over steps: as a page that needs nothing else, or as one picture for a README."""

import math
import re
from pathlib import Path

from markupsafe import Markup

from ..files import write_text
from ..games import Played
from ..games.tournament import Tournament
from ..train.evidence import Series
from .game_tables import cells, headline, meaning, settings, title
from .page import TEMPLATES, environment
from .plots import HEIGHT, WIDTH, Chart, Line, svg

FLOOR = 1e-17  # what the axis has for 0: less than float64 tells from it
MOST_ACTIONS = 12  # of a game whose table of win rates is shown
COLUMNS = 3  # of a picture's charts
HEAD, GAP = 26, 14  # CSS pixels above each chart, for its name, and between charts
VARIABLES = re.compile(r"--[\w-]+: #[0-9a-f]{6};")


def write(found: Tournament, out: Path) -> None:
    """Write `out`: a page (.html), or the charts alone (.svg)."""
    write_text(out, page(found) if out.suffix == ".html" else picture(found))


def page(found: Tournament) -> str:
    """The page: what was reached, every curve, the game, and what the solvers are."""
    return environment().get_template("games.html.j2").render(
        headline=headline(found),
        meaning=meaning(found),
        found=found,
        rows=[(played, cells(played), title(played), settings(played)) for played in found.plays],
        charts=[(chart, Markup(svg(chart))) for chart in charts(found)],
        shown=found.game.size <= MOST_ACTIONS,
    )  # fmt: skip


def charts(found: Tournament) -> list[Chart]:
    """Of each solver the exploitability of its last policy and of its average, all on the same axis."""
    least = min(min(played.last_curve.min(), played.average_curve.min()) for played in found.plays)
    bottom = 10.0 ** math.floor(math.log10(max(float(least), FLOOR)))
    return [
        Chart(
            played.solver.name,
            "exploitability",
            (
                Line("last", "run1", _series(played, played.last_curve.tolist()), exact=True),
                Line("average", "run2", _series(played, played.average_curve.tolist()), exact=True),
            ),
            log=(bottom, 1.0),
        )
        for played in found.plays
    ]


def picture(found: Tournament) -> str:
    """All charts as one SVG file, in light or dark as whoever looks has it."""
    drawn = charts(found)
    columns = min(COLUMNS, len(drawn))
    width = columns * (WIDTH + GAP) - GAP
    height = math.ceil(len(drawn) / columns) * (HEIGHT + HEAD + GAP) - GAP
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    placed = [
        _placed(chart, i % columns * (WIDTH + GAP), i // columns * (HEIGHT + HEAD + GAP))
        for i, chart in enumerate(drawn)
    ]
    return "\n".join(
        [
            f'<svg {names} viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
            f"<style>{_style()}</style>",
            *placed,
            "</svg>\n",
        ]
    )


def _placed(chart: Chart, x: int, y: int) -> str:
    legend = "".join(
        f'<tspan dx="10" fill="var(--{colour})">{name} {value}</tspan>' for colour, name, value in chart.legend
    )
    drawn = svg(chart).replace("<svg ", f'<svg x="{x}" y="{y + HEAD}" width="{WIDTH}" height="{HEIGHT}" ', 1)
    head = f'<text x="{x + 4}" y="{y + 16}" font-weight="650" fill="var(--ink)">{chart.title}{legend}</text>'
    return f"{head}\n{drawn}"


def _style() -> str:
    """The page's colours, for light and dark, and a font."""
    light, dark = (TEMPLATES / "report.css").read_text(encoding="utf-8").split("@media", 2)[:2]
    return (
        f":root {{ {' '.join(VARIABLES.findall(light))} }} "
        f"@media (prefers-color-scheme: dark) {{ :root {{ {' '.join(VARIABLES.findall(dark))} }} }} "
        "text { font: 13px system-ui, sans-serif; } svg { background: var(--card); }"
    )


def _series(played: Played, values: list[float]) -> Series:
    return Series(tuple(played.steps.tolist()), tuple(max(value, FLOOR) for value in values))
