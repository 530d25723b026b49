"""What was found of a model, on one page and in a terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich.table import Table

from ..files import write_text
from .calibration import Reliability
from .dots import dots
from .findings import Findings, spoken
from .page import environment, flat
from .reward_bench import SCORES, Group, Ranking
from .win_rate_text import told


def write_page(found: Findings, about: Mapping[str, Any], out: Path) -> Path:
    """Write the page to the file `out`, and give its path. `about` is what was asked."""
    rankings = found.ranked.rankings if found.ranked is not None else ()
    page = environment().get_template("findings.html.j2").render(
        headline=headline(found),
        found=found,
        lines=found.lines(),
        rankings=[(SCORES[one.score], tables(one), picture(one), reliability(one)) for one in rankings],
        settings=flat(about),
    )  # fmt: skip
    write_text(out, page)
    return out


def headline(found: Findings) -> str:
    """The first number that was measured, in a sentence."""
    lines = found.lines()
    if found.ranked is not None and found.ranked.rankings:
        first = found.ranked.rankings[0]
        return (
            f"{found.model} ranks {told(first.whole.accuracy)} of held-out pairs right, by its {SCORES[first.score]}"
        )
    return f"{found.model}: {lines[0].name} {lines[0].model}" if lines else found.model


def tables(one: Ranking) -> list[tuple[str, list[tuple[str, int, str, str, str]]]]:
    """By length and by subset: name, rows, accuracy, margin, calibration error of each group."""
    named = [("The better answer is", one.by_length), ("Subset", one.by_subset)]
    return [(title, [_cells(group) for group in groups]) for title, groups in named if groups]


def _cells(group: Group) -> tuple[str, int, str, str, str]:
    error = "" if group.error is None else f"{100 * group.error:.1f}\u202f%"
    return group.name, group.accuracy.count, told(group.accuracy), spoken(group.margin), error


def picture(one: Ranking) -> Markup:
    """The accuracies with their intervals."""
    groups = [one.whole, *one.by_length, *one.by_subset]
    named = [(f"{group.name} ({group.accuracy.count})", group.accuracy) for group in groups]
    return Markup(dots(f"Accuracy by {SCORES[one.score]}", named, level=0.5))


def reliability(one: Ranking) -> tuple[Reliability, Markup] | None:
    """How often it is right, by how sure it is."""
    if one.calibration is None:
        return None
    drawn = Reliability(one.calibration.bins, unit="held-out pairs that are right, by how sure it is")
    return drawn, Markup(drawn.svg())


def draw(found: Findings) -> Table:
    """As a table; with a reference its numbers and the changes beside."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    lines = found.lines()
    wide = any(line.reference or line.change for line in lines)
    for title in ("", "model", *(("reference", "change") if wide else ())):
        table.add_column(title)
    for line in lines:
        table.add_row(*([line.name, line.model] + ([line.reference, line.change] if wide else [])))
    if found.ranked is not None:
        table.add_row("rows measured", f"{found.ranked.rows:,}")
        for reason, count in found.ranked.left_out.items():
            table.add_row("left out", f"{count:,}: {reason}", style="yellow")
    return table
