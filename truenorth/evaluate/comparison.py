"""Several runs on one page: what each reached, how far it went for it, and in which settings they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ..errors import SettingsError
from ..files import write_text
from . import headline
from .artifacts import Artifacts, read
from .charts import RUN_COLOURS, overlaid
from .headline import Row
from .page import environment, flat
from .plots import svg
from .report import findings

IGNORED = ("out",)  # differs between any two runs


@dataclass(frozen=True, slots=True)
class Compared:
    """One run in the table."""

    name: str
    colour: str
    artifacts: Artifacts
    accuracy: Row | None
    kl: float | None
    verdict: tuple[str, str]


def write_comparison(run_directories: Sequence[Path], out: Path) -> Path:
    """Write one page on several runs to the file `out`, and give its path.

    Raises SettingsError for fewer than two or more than six runs, and DataError where a folder is no run.
    """
    if not 2 <= len(run_directories) <= len(RUN_COLOURS):
        raise SettingsError(f"a comparison takes 2 to {len(RUN_COLOURS)} runs, got {len(run_directories)}.")
    runs = compared([read(directory) for directory in run_directories])
    drawn = overlaid({run.name: run.artifacts.of_result for run in runs})
    worlds = {run.name: {row.name: row for row in headline.rows(world)} for run in runs if (world := _world(run))}
    page = environment().get_template("comparison.html.j2").render(
        headline=best(runs),
        runs=runs,
        world_names=list(dict.fromkeys(name for rows in worlds.values() for name in rows)),
        worlds=worlds,
        charts=[(chart, Markup(svg(chart))) for chart in drawn],
        differing=differing({run.name: run.artifacts for run in runs}),
    )  # fmt: skip
    write_text(out, page)
    return out


def compared(artifacts: Sequence[Artifacts]) -> list[Compared]:
    """The runs with the names that tell them apart: the method's title, with the folder where two share it."""
    titles = [a.summary.title or headline.name(a) for a in artifacts]
    names = [
        f"{title} ({a.directory.name})" if titles.count(title) > 1 else title
        for title, a in zip(titles, artifacts, strict=True)
    ]
    return [
        Compared(
            name,
            colour,
            a,
            None if a.summary.rounding is not None and a.summary.rounding.drowned else headline.held_out_accuracy(a),
            headline.sampled_kl(a),
            headline.verdict(findings(a)),
        )
        for name, colour, a in zip(names, RUN_COLOURS, artifacts, strict=False)
    ]


def best(runs: Sequence[Compared]) -> str:
    """Which run ranks held-out pairs best, and which others cannot be told from it."""
    reached = {run.name: run.accuracy.after for run in runs if run.accuracy and run.accuracy.after}
    if len(reached) < 2:
        return f"{len(runs)} runs compared; fewer than two measured held-out accuracy."
    first = max(reached, key=lambda name: reached[name].value)
    row, top = Row("accuracy", True, None, reached[first]), reached[first]
    near = [name for name, m in reached.items() if name != first and not (m.bounded and m.high < top.low)]
    interval = f" (95\u202f%: {row.interval(top)})" if top.bounded else ""
    whole = f"{len(runs)} runs" if len(reached) == len(runs) else f"the {len(reached)} runs that measured it"
    said = f"{first} has the highest held-out accuracy of {whole}, {row.say(top)}{interval}"
    return (
        f"{said}; {' and '.join(near)} cannot be told from it." if near else f"{said}, beyond the others' intervals."
    )


def differing(runs: Mapping[str, Artifacts]) -> list[tuple[str, list[str]]]:
    """(setting, its value in each run) of every setting in which they differ; a dash where a run has none."""
    settings = [dict(flat(a.recipe) + flat(a.run)) for a in runs.values()]
    names = dict.fromkeys(name for each in settings for name in each if name not in IGNORED)
    rows = [(name, [each.get(name, "–") for each in settings]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _world(run: Compared) -> headline.BeforeAfter | None:
    return run.artifacts.summary.world
