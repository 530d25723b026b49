"""Odds Ratio Preference Optimization: fine-tuning and preferences in one stage, without a reference.

Paper    Hong et al. 2024, arXiv:2403.07691; odds_weight is its lambda
Read     code
Loss     Eq. 6:  -log p(chosen) - odds_weight * log sigmoid( log_odds(chosen) - log_odds(rejected) ),
         log p(y) = log pi(y|x) / |y|,  log_odds(y) = log( p(y) / (1 - p(y)) ),  |y| tokens of a response
Recipe   code: AdamW, learning rate 5e-6 after 200 steps of warm-up (Mistral-7B); the code decays as 1 / sqrt(step),
         ours linearly
Differs  from the authors' code in the first term, where that learns the prompt's tokens too unless told otherwise, and
         weighs every token of a batch alike, ours every response; and near p = 1, where odds are infinite: ours are
         those of p = 1 - 1e-6 at most.
"""

from typing import ClassVar

import torch
from torch import Tensor

from ..contrasts import soft_pair
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates

NEARLY_CERTAIN = -1e-6  # nats per token


def log_odds(log_p: Tensor) -> Tensor:
    """log( p / (1 - p) ), elementwise; p above 1 - 1e-6 counts as that, and has no gradient.

    >>> log_odds(Tensor([0.5, 0.2]).log()).exp()
    tensor([1.0000, 0.2500])
    """
    log_p = log_p.clamp(max=NEARLY_CERTAIN)
    return log_p - torch.log(-torch.expm1(log_p))


class ORPO(Objective):
    """The chosen response's likelihood per token, and odds that favour it over the rejected one."""

    kind: ClassVar[str] = "orpo"
    references: ClassVar[tuple[str, ...]] = ()

    odds_weight: float = setting(0.1, "weight of the odds ratio beside fine-tuning", source="code", ge=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return -candidates.policy.mean[:, 0] + self.odds_weight * soft_pair(chosen - rejected, 1.0)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return log_odds(candidates.policy.mean)


def recipe(*, learning_rate: float = 5e-6, **settings: float) -> Recipe:
    """ORPO; `settings` are those of `ORPO`."""
    return Recipe(
        method="orpo",
        objective=ORPO(**settings),
        references={},
        update=AdamW(learning_rate=learning_rate, warmup_steps=200),
    )
