"""Weights as named tensors: arithmetic on them, and checkpoints streamed from disk to disk.

from truenorth import weights
weights.extrapolate(sft, aligned, alpha=0.5), weights.keep_largest(vector, 0.2), weights.open_checkpoint("my-sft")
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arithmetic import add_vector, average, extrapolate, linear, slerp_weights, task_vector
    from .election import agreed_mean, elect_sign
    from .slices import in_memory, whole
    from .sparsify import count_of, cut, cuts, generator, keep_largest, keep_middle, keep_random, middle_counts
    from .store import open_checkpoint

_HOMES = {
    **dict.fromkeys(["add_vector", "average", "extrapolate", "linear", "slerp_weights", "task_vector"], "arithmetic"),
    **dict.fromkeys(["agreed_mean", "elect_sign"], "election"),
    **dict.fromkeys(["in_memory", "whole"], "slices"),
    **dict.fromkeys(
        ["count_of", "cut", "cuts", "generator", "keep_largest", "keep_middle", "keep_random", "middle_counts"],
        "sparsify",
    ),
    "open_checkpoint": "store",
}
__all__ = [
    "add_vector", "agreed_mean", "average", "count_of", "cut", "cuts", "elect_sign", "extrapolate", "generator",
    "in_memory", "keep_largest", "keep_middle", "keep_random", "linear", "middle_counts", "open_checkpoint",
    "slerp_weights", "task_vector", "whole",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Import what is asked for only then: settings of a merge are checked before torch is there."""
    if name not in _HOMES:
        raise AttributeError(f"truenorth.weights has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
