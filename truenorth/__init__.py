"""TrueNorth aligns language models with preferences: one engine, every method, each one short file next to its paper.

from truenorth import align
align("exo", model="my-sft/", data="pairs.jsonl", out="runs/exo")
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .job import align
    from .measuring.contest import win_rate
    from .measuring.run import measure
    from .merging import merge
    from .models.score import score
    from .sweeps.run import sweep

__version__ = "0.1.0"
__all__ = ["align", "measure", "merge", "score", "sweep", "win_rate"]
_HOMES = {
    "align": "truenorth.job",
    "measure": "truenorth.measuring.run",
    "merge": "truenorth.merging",
    "score": "truenorth.models.score",
    "sweep": "truenorth.sweeps.run",
    "win_rate": "truenorth.measuring.contest",
}


def __getattr__(name: str) -> object:
    """Import what is asked for only then: torch takes seconds, `truenorth --help` should not."""
    if name not in _HOMES:
        raise AttributeError(f"truenorth has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(importlib.import_module(_HOMES[name]), name)
