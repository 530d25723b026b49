"""Weighted Preference Optimization: pairs that the policy could have written itself count more.

Paper    Zhou et al. 2024, arXiv:2406.11827, without its weight alignment
Loss     -w log sigmoid( beta * (r_chosen - r_rejected) ),  r = log pi(y|x) - log pi_ref(y|x),
         w = pi(chosen|x)^(1/|chosen|) * pi(rejected|x)^(1/|rejected|) without gradient,  |y| tokens of a response
Recipe   code: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps
Differs  from the authors' code, which divides each token's probability by the sum of the squares of all tokens' there
         and cuts w at 1: then the policy's own samples weigh about the same, while our plain probabilities are smaller
         where the policy is unsure. That the paper starts from the plain weight is remembered, not read.
"""

import math
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates, LogProbs


class WPO(Objective):
    """DPO's loss, weighted by how likely both responses are, per token."""

    kind: ClassVar[str] = "wpo"

    beta: float = setting(0.01, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return -pair_weight(candidates.policy.detach()) * logsigmoid(chosen - rejected)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return math.log(2) * pair_weight(candidates.references["initial"])


def pair_weight(log_probs: LogProbs) -> Tensor:
    """[B] in (0, 1]: the product of both responses' probabilities per token."""
    return log_probs.mean.sum(-1).clamp(max=0).exp()


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """WPO; `settings` are those of `WPO`."""
    return Recipe(
        method="wpo",
        objective=WPO(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )
