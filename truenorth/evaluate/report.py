"""report.html: one file that needs nothing else, written from a run directory. Works offline, prints, fits a phone."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ..files import write_text
from ..train.diagnosis import diagnose
from ..train.evidence import Finding, short
from . import headline
from .artifacts import Artifacts, Citation, read
from .charts import charts
from .plots import svg
from .samples import diagnose_samples

TEMPLATES = Path(__file__).parent / "templates"
ARXIV = re.compile(r"\b(?:arXiv:\s*)?(\d{4}\.\d{4,5})(v\d+)?\b", re.IGNORECASE)
LEVELS = ("problem", "watch", "good")


def write_report(run_directory: Path) -> Path:
    """Write `report.html` into a run directory, finished or still running, and give its path.

    Raises DataError where run.yaml or metrics.jsonl is missing or malformed. The same run gives the same bytes.
    """
    page = render(read(run_directory))
    path = run_directory / "report.html"
    write_text(path, page)
    return path


def findings(artifacts: Artifacts) -> list[Finding]:
    """The diagnosis of metrics and samples together, problems first."""
    beta, clip = artifacts.setting("objective", "beta"), artifacts.setting("update", "max_grad_norm")
    found = diagnose(artifacts.records, beta=beta, max_grad_norm=clip) + diagnose_samples(artifacts.samples)
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def render(artifacts: Artifacts) -> str:
    """The page. Every text from a model or a file is escaped."""
    summary = artifacts.summary
    measured = [part for part in (summary.evaluation, summary.world) if part]
    found = findings(artifacts)
    return _environment().get_template("report.html.j2").render(
        a=artifacts,
        summary=summary,
        method=summary.title or headline.name(artifacts),
        headline=headline.headline(artifacts),
        figures=headline.figures(artifacts),
        findings=found,
        verdict=headline.verdict(found),
        before_after=[row for part in measured for row in headline.told(part)],
        charts=[(chart, Markup(svg(chart))) for chart in charts(artifacts.records)],
        recipe=flat(artifacts.recipe),
        run=flat(artifacts.run),
        provenance=_provenance(artifacts),
        citations=[_citation(c) for c in summary.citations],
    )  # fmt: skip


def flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted path, value), in their order.

    >>> flat({"objective": {"kind": "exo", "beta": 0.1}, "lora": None})
    [('objective.kind', 'exo'), ('objective.beta', '0.1'), ('lora', 'none')]
    """
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            for i, item in enumerate(value):
                rows += flat({f"{name}[{i}]": item}, prefix)
        else:
            rows.append((prefix + name, say(value)))
    return rows


def say(value: object) -> str:
    """A setting or a count as the report shows it: exact, since somebody may type it in again."""
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return re.sub(r"e-0", "e-", f"{value:.12g}")
    if isinstance(value, list):
        return ", ".join(map(say, value))
    return str(value)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["say"] = say
    environment.filters["short"] = short
    environment.filters["linked"] = linked
    environment.filters["title"] = headline.title
    return environment


def linked(text: str) -> Markup:
    """Text with its arXiv numbers as links: the only addresses in a report, and none is loaded."""
    parts: list[str] = []
    end = 0
    for match in ARXIV.finditer(text):
        parts += [
            escape(text[end : match.start()]),
            Markup('<a href="https://arxiv.org/abs/{}">{}</a>').format(*match.group(1, 0)),
        ]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def _provenance(artifacts: Artifacts) -> list[tuple[str, str]]:
    """What was run where, as far as the run says it."""
    summary, step0 = artifacts.summary, artifacts.summary.step0
    shown: tuple[tuple[str, str | int | float | None], ...] = (
        ("Steps", summary.steps),
        ("Prompts", summary.prompts),
        ("Tokens", summary.tokens),
        ("Time", headline.duration(summary.seconds) if summary.seconds is not None else None),
        ("Tokens per second", round(summary.tokens_per_second) if summary.tokens_per_second else None),
        ("Processes", summary.processes),
        ("Trainable parameters", summary.trainable_parameters),
        ("All parameters", summary.parameters),
        ("Device", summary.device or None),
        ("Precision", summary.precision or None),
        ("Seed", artifacts.run.get("seed")),
        ("First loss by theory", f"{step0.expected:.5g}" if step0 else None),
        ("First loss measured", f"{step0.measured:.5g}" if step0 else None),
    )
    return [(name, say(value)) for name, value in shown if value is not None]


def _citation(citation: Citation | str) -> str:
    """One line per work: authors, title, number."""
    if isinstance(citation, str):
        return citation
    number = f"arXiv:{citation.arxiv}" if citation.arxiv else ""
    return ". ".join(filter(None, (citation.authors.rstrip("."), citation.title.rstrip("."), number)))
