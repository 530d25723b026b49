"""Weighted Preference Optimization: pairs that the policy could have written itself count more.

Paper    Zhou et al. 2024, arXiv:2406.11827, with its weights aligned to samples
Read     code
Loss     -w log sigmoid( beta * (r_chosen - r_rejected) ),  r = log pi(y|x) - log pi_ref(y|x),
         w = min(1, a(chosen) * a(rejected)) without gradient,
         a(y) = geometric mean over t of  pi(y_t) / sum_v pi(v)^2,  v any token in the place of y_t
Recipe   code: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps
Differs  in nothing from the authors' code, where the weight was read; the paper was not. Divided by the sum of the
         squares, the mean probability of a sampled token, the policy's own samples weigh about the same however sure
         it is. TRL 1.16 does not cut w at 1. The label smoothing of the code is left out.
"""

import math
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Reads, Recipe
from ..settings import setting
from ..types import Candidates, LogProbs


class WPO(Objective):
    """DPO's loss, weighted by how likely both responses are, per token and beside the policy's own."""

    kind: ClassVar[str] = "wpo"
    reads: ClassVar[frozenset[Reads]] = frozenset({"policy_collision"})

    beta: float = setting(0.01, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return -pair_weight(candidates.policy.detach()) * logsigmoid(chosen - rejected)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return math.log(2) * pair_weight(candidates.policy.detach())


def pair_weight(log_probs: LogProbs) -> Tensor:
    """[B] in (0, 1]: the product of both responses' aligned probabilities per token."""
    assert log_probs.collision is not None  # `reads` has asked for it
    aligned = (log_probs.total + log_probs.collision) / log_probs.length  # [B, K] nats per token
    return aligned.sum(-1).clamp(max=0).exp()


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """WPO; `settings` are those of `WPO`."""
    return Recipe(
        method="wpo",
        objective=WPO(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )
