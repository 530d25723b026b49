"""What the claims' pictures share: their ink, their frame, and how they are written."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

DOCS = Path(__file__).parents[2] / "docs"
INK, GRID = "#57606a", "#d0d7de"
WIDTH = 8.6  # inches


@contextmanager
def picture(name: str, *, height: float) -> Generator[Figure]:
    """A figure, so many inches high, that is written to docs/NAME.svg: the same bytes for the same numbers."""
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(WIDTH, height))
        yield figure
        figure.savefig(DOCS / f"{name}.svg", metadata={"Date": None}, facecolor="white")


def frame(axes: Any) -> None:
    """Horizontal lines behind the curves, and a bottom line alone."""
    axes.tick_params(length=0, colors=INK)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.spines[["top", "left", "right"]].set_visible(False)
