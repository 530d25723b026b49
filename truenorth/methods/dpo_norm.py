"""Length-normalised DPO: log-ratios per token.

Paper    Lambert et al. 2024, arXiv:2411.15124 (Tulu 3)
Read     others: what is said of the authors' code
Loss     -log sigmoid( beta * (r_chosen / |chosen| - r_rejected / |rejected|) ),
         r = log pi(y|x) - log pi_ref(y|x),  |y| tokens of a response
Recipe   code: AdamW, learning rate 5e-7, linear after a warm-up over 10 % of the steps, weight decay 0, no clip (8B)
Differs  in nothing that is known: name, beta and schedule are those of the authors' published command, the formula
         is what others say of their code. beta is on the scale of SimPO's, since rewards are per token.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class DPONorm(Objective):
    """DPO's loss on log-ratios per token, so that a long response has no larger say."""

    kind: ClassVar[str] = "dpo_norm"

    beta: float = setting(5.0, "scale of the log-ratios per token", source="code", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return -logsigmoid(chosen - rejected)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial") / candidates.policy.length

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """Length-normalised DPO; `settings` are those of `DPONorm`."""
    return Recipe(
        method="dpo_norm",
        objective=DPONorm(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="linear", max_grad_norm=None),
    )
