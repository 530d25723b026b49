"""The end of a run in a few lines of plain text, for a terminal or a log."""

import textwrap
from pathlib import Path

from . import continual_page, headline
from .artifacts import Artifacts, read
from .continual import Continual
from .report import findings

WIDTH = 100  # columns; longer lines are wrapped under their own indent
MARKS = {"problem": "x", "watch": "!", "good": "+"}


def lines_of(out: Path, report: Path | None) -> list[str]:
    """What the run in the folder `out` says at its end."""
    if continual_page.is_continual(out):
        return [*continual_page.lines(Continual.read(out)), "", f"Report: {report}"]
    return summary_lines(read(out), report)


def summary_lines(artifacts: Artifacts, report: Path | None = None) -> list[str]:
    """The headline, the verdict, what to watch with the setting to turn, and where the report lies."""
    found = findings(artifacts)
    lines = [headline.headline(artifacts), headline.verdict(found)[1], ""]
    for finding in found:
        if finding.level != "good":
            lines += _wrapped(f"{MARKS[finding.level]} {finding.title}. {finding.sentence}")
            lines += _wrapped(f"  Turn: {finding.setting}")
    lines += [f"+ {finding.title}" for finding in found if finding.level == "good"]
    return lines if report is None else [*lines, "", f"Report: {report}"]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
