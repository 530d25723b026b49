"""report.html: one file that needs nothing else, written from a run directory. Works offline, prints, fits a phone."""

import shlex
from pathlib import Path

from markupsafe import Markup

from ..files import write_text
from ..train.advice import settled
from ..train.diagnosis import diagnose
from ..train.evidence import Evidence, Finding, short
from ..train.saving import unlike_trained
from . import headline
from .artifacts import Artifacts, Citation, read
from .calibration import Reliability, reliability
from .charts import charts
from .continual_page import is_continual, write_continual
from .federated import clients_of
from .page import environment, flat, say
from .plots import Chart, svg
from .regret import regret_in
from .round_samples import over_rounds
from .samples import diagnose_samples


def write_report(run_directory: Path) -> Path:
    """Write `report.html` into a run directory, finished or still running, and give its path.

    Raises DataError where run.yaml or metrics.jsonl is missing or malformed. The same run gives the same bytes.
    """
    if is_continual(run_directory):
        return write_continual(run_directory)
    page = render(read(run_directory))
    path = run_directory / "report.html"
    write_text(path, page)
    return path


def findings(artifacts: Artifacts) -> list[Finding]:
    """The diagnosis of metrics and samples together, problems first."""
    evidence = Evidence(
        artifacts.records,
        beta=artifacts.setting("objective", "beta"),
        max_grad_norm=artifacts.setting("update", "max_grad_norm"),
        learning_rate=artifacts.setting("update", "learning_rate"),
        stream=artifacts.run.get("stream") is not None,
    )
    found = diagnose(evidence, moving=artifacts.reference_moves, rounding=artifacts.summary.rounding)
    found += diagnose_samples(artifacts.samples) + unlike_trained(artifacts.summary.saving)
    return settled(found)


def render(artifacts: Artifacts) -> str:
    """The page. Every text from a model or a file is escaped."""
    summary = artifacts.summary
    measured = [part for part in (summary.evaluation, summary.world) if part]
    found = findings(artifacts)
    return environment().get_template("report.html.j2").render(
        a=artifacts,
        summary=summary,
        method=summary.title or headline.name(artifacts),
        headline=headline.headline(artifacts),
        figures=headline.figures(artifacts),
        findings=found,
        verdict=headline.verdict(found),
        before_after=[row for part in measured for row in headline.told(part)],
        charts=_drawn(artifacts),
        regret=regret_in(artifacts.directory),
        rounds=over_rounds(artifacts.directory),
        clients=clients_of(artifacts.directory, artifacts.records),
        recipe=flat(artifacts.recipe),
        run=flat(artifacts.run),
        provenance=_provenance(artifacts),
        again=_again(artifacts),
        citations=[_citation(c) for c in summary.citations],
    )  # fmt: skip


def _drawn(artifacts: Artifacts) -> list[tuple[Chart | Reliability, Markup]]:
    """The curves, and of a judge whether it is right as often as it says."""
    drawn: list[tuple[Chart | Reliability, Markup]] = [
        (chart, Markup(svg(chart))) for chart in charts(artifacts.records)
    ]
    if (bins := reliability(artifacts.records)) is not None:
        drawn.append((bins, Markup(bins.svg())))
    return drawn


def _provenance(artifacts: Artifacts) -> list[tuple[str, str]]:
    """What was run where, as far as the run says it."""
    summary, step0 = artifacts.summary, artifacts.summary.step0
    shown: tuple[tuple[str, str | int | float | None], ...] = (
        ("Steps", summary.steps),
        ("Prompts", summary.prompts),
        ("Tokens", summary.tokens),
        ("Time in steps", headline.duration(summary.seconds) if summary.seconds is not None else None),
        ("Tokens per second", round(summary.tokens_per_second) if summary.tokens_per_second else None),
        ("Processes", summary.processes),
        ("Trainable parameters", summary.trainable_parameters),
        ("All parameters", summary.parameters),
        ("Device", summary.device or None),
        ("Precision", summary.precision or None),
        ("Weights written in", summary.saved_as or None),
        ("Rounding of a margin", short(summary.rounding.difference) if summary.rounding else None),
        ("Seed", artifacts.run.get("seed")),
        ("First loss by theory", f"{step0.expected:.5g}" if step0 else None),
        ("First loss measured", f"{step0.measured:.5g}" if step0 else None),
    )
    return [(name, say(value)) for name, value in shown if value is not None]


def _again(artifacts: Artifacts) -> str:
    """The command that runs it once more, from where it was begun: its paths are as they were given there."""
    settings = Path(artifacts.run.get("out") or ".") / "run.yaml"
    return f"{shlex.join(['truenorth', 'train', str(settings)])} --out OTHER"


def _citation(citation: Citation | str) -> str:
    """One line per work: authors, title, number."""
    if isinstance(citation, str):
        return citation
    number = f"arXiv:{citation.arxiv}" if citation.arxiv else ""
    return ". ".join(filter(None, (citation.authors.rstrip("."), citation.title.rstrip("."), number)))
