"""Identity Preference Optimization: the margin is fitted, not pushed without end.

Paper    Azar et al. 2023, arXiv:2310.12036; beta is its tau
Read     memory
Loss     ( r_chosen - r_rejected - 1 / (2 beta) )^2,  r = log pi(y|x) - log pi_ref(y|x)
Recipe   ours: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps; the paper trains bandits only
Differs  in nothing that we know; the formula is from memory and the paper was not opened again. r is summed over
         tokens. TRL divides it by the response's length, which makes the margin to reach one per token. The paper's
         beta is a matter of tuning, ours is DPO's.
"""

from typing import ClassVar

import torch
from torch import Tensor

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class IPO(Objective):
    """Squared distance of the margin from the one that a certain preference stands for."""

    kind: ClassVar[str] = "ipo"
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.1, "1 over twice the margin to reach, in nats", source="ours", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = candidates.log_ratio("initial").unbind(-1)
        return (chosen - rejected - 1 / (2 * self.beta)) ** 2

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], 1 / (2 * self.beta) ** 2)


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """IPO; `settings` are those of `IPO`."""
    return Recipe(
        method="ipo",
        objective=IPO(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )
