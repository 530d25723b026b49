"""Candidates made from plain numbers, for tests of objectives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from truenorth.types import Candidates, LogProbs

Rows = Sequence[Sequence[float]] | Tensor  # [B, K]


def scored(policy: Rows, reference: Rows | None = None, *, rewards: Rows | None = None, length: Rows | None = None):
    """Candidates in float64, [B, K]. Without a reference its log-probs are 0, without lengths every response has 1."""
    total = _tensor(policy)
    length = torch.ones_like(total) if length is None else _tensor(length)
    initial = torch.zeros_like(total) if reference is None else _tensor(reference)
    return Candidates(
        policy=LogProbs(total, length),
        references={"initial": LogProbs(initial, length)},
        rewards=None if rewards is None else _tensor(rewards),
    )


def _tensor(rows: Rows) -> Tensor:
    return rows if isinstance(rows, Tensor) else torch.tensor(rows, dtype=torch.float64)
