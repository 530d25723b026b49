"""How far a round's policy is from what it is compared with, estimated on the answers that it has just drawn."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..data.loader import batches
from ..data.packing import PackedBatch
from ..data.tokens import TokenizedRows
from ..types import LogProbs

Scores = Callable[[PackedBatch], LogProbs]


def distances(log_ratio: Mapping[str, Tensor], *, alpha: float | None) -> dict[str, float]:
    """From log(policy / reference) of answers that the policy drew, [prompts, K] nats for each reference.

    kl/NAME              KL(policy || reference), nats per answer; unbiased, and so below 0 at times
    exploitability       with a reference that is called magnet, and `alpha`, the weight of the KL to it: see
                         `implied_exploitability`, mean over prompts

    >>> distances({"magnet": torch.tensor([[1.0, 0.0]])}, alpha=0.5)
    {'kl/magnet': 0.5, 'exploitability': 0.25}
    """
    found = {f"kl/{name}": float(nats.double().mean()) for name, nats in log_ratio.items()}
    if alpha is not None and "magnet" in log_ratio:
        found["exploitability"] = float(implied_exploitability(log_ratio["magnet"].double(), alpha).mean())
    return found


def implied_exploitability(log_ratio: Tensor, alpha: float) -> Tensor:
    """[..., K] nats log(policy / magnet) of K answers drawn from the policy -> [...] wins above 1/2.

    Of the equilibrium of a game with alpha KL(policy || magnet) in it, how much the best answer to it wins is

        alpha * ( max_y log(policy(y) / magnet(y))  -  KL(policy || magnet) ),

    and no judge is asked. Here over the drawn answers: their maximum is at most that of all, so that the estimate's
    mean is a lower bound, far below where an answer that is rarely drawn beats the policy. Before the equilibrium is
    reached, and of any other policy, the number says nothing. (`truenorth.games` has it for policies that are known.)
    """
    return alpha * (log_ratio.amax(-1) - log_ratio.mean(-1))


@torch.no_grad()
def log_ratios(
    rows: TokenizedRows, policy: Scores, references: Mapping[str, Scores], *, budget: int
) -> dict[str, Tensor]:
    """[rows, K] nats log(policy / reference) of every answer, in batches of at most `budget` tokens."""
    parts = {name: list[Tensor]() for name in references}
    for batch in batches(rows, range(len(rows)), budget=budget):
        ours = policy(batch).total
        for name, scores in references.items():
            parts[name].append((ours - scores(batch).total.to(ours.device)).cpu())
    return {name: torch.cat(found) for name, found in parts.items()}
