"""Self-Play Preference Optimization from labels: each response's log-ratio is fitted to its win rate.

Paper    Wu et al. 2024, arXiv:2405.00675, Eq. 4.7 with win rates 1 and 0; beta is 1 over its eta
Read     code
Loss     ( r_chosen - 1 / (2 beta) )^2 + ( r_rejected + 1 / (2 beta) )^2,  r = log pi(y|x) - log pi_ref(y|x)
Recipe   code: RMSprop, learning rate 5e-7, linear after a warm-up over 10 % of the steps
Differs  in the win rates: the paper estimates them with a pairwise judge over several samples of the policy, and plays
         rounds; here the labels stand for them, as in TRL's sppo_hard.
"""

from typing import ClassVar

import torch
from torch import Tensor

from ..models.references import Cached
from ..optim.update import RMSprop
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class SPPOHard(Objective):
    """Squared distances of both log-ratios from what a certain win and a certain loss stand for."""

    kind: ClassVar[str] = "sppo_hard"

    beta: float = setting(0.001, "1 over twice the log-ratio to reach, in nats", source="code", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = candidates.log_ratio("initial").unbind(-1)
        goal = 1 / (2 * self.beta)
        return (chosen - goal) ** 2 + (rejected + goal) ** 2

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], 2 / (2 * self.beta) ** 2)


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """SPPO from labels; `settings` are those of `SPPOHard`."""
    return Recipe(
        method="sppo_hard",
        objective=SPPOHard(**settings),
        references={"initial": Cached()},
        update=RMSprop(learning_rate=learning_rate, warmup_share=0.1, decay="linear"),
    )
