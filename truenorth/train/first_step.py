"""Before the first step: is the loss what theory says it is at policy = reference?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data.packing import PackedBatch
from ..errors import NumericsError
from ..models.policy import Precision
from ..processes import ALONE
from ..recipe import Objective
from ..types import Candidates
from .step import Player, Scores, score, summary_of

# Nats by which the log-prob of one token may differ between two packings of the same row. Sums grow like the root of
# the length. Measured on our models: 1e-5 and 0.02; ten times that is a wrong reference or a wrong mask.
PER_TOKEN: Mapping[Precision, float] = {"float32": 1e-4, "bfloat16": 0.2}


@dataclass(frozen=True, slots=True)
class FirstStep:
    expected: float  # mean loss that theory gives
    measured: float
    drift: float  # nats, the largest |log pi - log pi_ref| of a response


@torch.no_grad()
def check_first_step(
    players: Sequence[Player], batch: PackedBatch, references: Mapping[str, Scores], *, precision: Precision
) -> FirstStep | None:
    """Compare the first player's loss of `batch` at the start with its objective's `initial_loss`. None where theory
    gives nothing.

    Raises NumericsError if a log-prob is not finite or a log-ratio that must be zero is not, naming the row, or if the
    objective's loss at policy = reference is not what it says itself.
    """
    objective, batch = players[0].objective, batch.to(players[0].parameters[0].device)
    summary = summary_of(players, [batch], references, 0, ALONE)
    candidates = replace(score(players, batch, references)[0], step=summary)
    _refuse_broken(candidates.policy.total, batch)
    expected = objective.initial_loss(candidates)
    if expected is None:
        return None
    allowed = PER_TOKEN[precision] * candidates.policy.length.float().sqrt()  # [B, K]
    drift = torch.zeros(())
    for name in candidates.references:
        apart = candidates.log_ratio(name).abs()
        if bool((apart > allowed).any()):
            prompt = int((apart - allowed).amax(1).argmax())
            raise NumericsError(
                f"before the first step the policy and its reference {name!r} must agree, and they differ by "
                f"{float(apart[prompt].max()):.3g} nats on data row {batch.rows[prompt]} (allowed: "
                f"{float(allowed[prompt].max()):.2g}). The reference is not the model that training starts from, or "
                "its cached log-probs are stale. Clear the cache, or give the reference by name."
            )
        drift = torch.maximum(drift, apart.max().cpu())
    _refuse_other_theory(objective, candidates, expected)
    measured = objective(candidates)
    return FirstStep(float(expected.mean()), float(measured.mean()), float(drift))


def _refuse_broken(total: Tensor, batch: PackedBatch) -> None:
    """Raise NumericsError where the policy gives a response no finite log-prob, [B, K]."""
    finite = torch.isfinite(total)
    if not bool(finite.all()):
        prompt = int(finite.all(1).int().argmin())
        raise NumericsError(
            f"before the first step the policy gives data row {batch.rows[prompt]} the log-probs "
            f"{total[prompt].tolist()}. Its weights are broken, or they need --precision float32."
        )


def _refuse_other_theory(objective: Objective, candidates: Candidates, expected: Tensor) -> None:
    """Raise NumericsError unless `objective` gives `expected`, [B], where each reference is the policy itself."""
    total, tokens = candidates.policy.total, candidates.policy.tokens
    references = {name: replace(r, total=total, tokens=tokens) for name, r in candidates.references.items()}
    roles = {
        role: replace(of, references={name: replace(r, total=of.policy.total) for name, r in of.references.items()})
        for role, of in candidates.roles.items()
    }
    same = replace(candidates, references=references, roles=roles)
    if (step := candidates.step) is not None:
        zeros = {name: torch.zeros_like(ratios) for name, ratios in step.log_ratio.items()}
        same = replace(same, step=replace(step, log_ratio=zeros))
    losses = objective(same)
    if not torch.allclose(losses, expected, rtol=1e-4, atol=1e-4):
        raise NumericsError(
            f"{type(objective).__name__} says that its loss is {float(expected[0]):.6g} where policy and reference "
            f"agree, and computes {float(losses[0]):.6g}. Its formula or its `initial_loss` is wrong."
        )
