"""Candidates made from plain numbers, for tests of objectives."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from truenorth.types import Candidates, LogProbs, StepSummary

Rows = Sequence[Sequence[float]] | Tensor  # [B, K]


def scored(
    policy: Rows,
    reference: Rows | None = None,
    *,
    rewards: Rows | None = None,
    length: Rows | None = None,
    entropy: Rows | None = None,  # of the reference
    collision: Rows | None = None,  # of the policy
    columns: Mapping[str, Sequence[float] | Tensor] | None = None,  # [B] each
):
    """Candidates in float64, [B, K], the only ones of their step.

    Without a reference its log-probs are 0, without lengths every response has 1.
    """
    total = _tensor(policy)
    length = torch.ones_like(total) if length is None else _tensor(length)
    initial = torch.zeros_like(total) if reference is None else _tensor(reference)
    numbers = {name: _tensor(column) for name, column in (columns or {}).items()}
    step = StepSummary(
        policy=total.detach().clone(),  # finite differences change `total` in place
        log_ratio={"initial": (total - initial).detach()},
        columns={"weight": torch.ones_like(total[:, 0]).detach(), **numbers},
    )
    return Candidates(
        policy=LogProbs(total, length, collision=None if collision is None else _tensor(collision)),
        references={"initial": LogProbs(initial, length, entropy=None if entropy is None else _tensor(entropy))},
        rewards=None if rewards is None else _tensor(rewards),
        columns=numbers,
        step=step,
    )


def _tensor(rows: Rows | Sequence[float]) -> Tensor:
    return rows if isinstance(rows, Tensor) else torch.tensor(rows, dtype=torch.float64)
