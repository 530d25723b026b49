"""Regularized Preference Optimization: DPO with the likelihood of the chosen response held up.

Paper    Liu et al. 2024, arXiv:2405.16436, with the chosen response as its baseline
Read     code
Recipe   code: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps
Differs  in nothing: both forms are the authors', the sum as for Zephyr-beta, the mean from their second code.
         TRL's `rpo_alpha` is another paper's (iterative RPO, arXiv:2404.19733) and is not scaled by beta.
"""

import math
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class RPO(Objective):
    """Regularized Preference Optimization.

    Loss     -log sigmoid( beta * (r_chosen - r_rejected) ) - eta * beta * log pi(chosen|x),
             r = log pi(y|x) - log pi_ref(y|x)
    """

    kind: ClassVar[str] = "rpo"

    beta: float = setting(0.01, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)
    eta: float = setting(0.005, "weight of the likelihood, times beta; 0 is DPO", source="code", ge=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return -logsigmoid(chosen - rejected) - self.eta * self.beta * candidates.policy.total[:, 0]

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return math.log(2) - self.eta * self.beta * candidates.references["initial"].total[:, 0]


class RPOAverage(Objective):
    """Regularized Preference Optimization, its likelihood per token.

    Loss     -log sigmoid( beta * (r_chosen - r_rejected) ) - eta * log pi(chosen|x) / |chosen|,
             r = log pi(y|x) - log pi_ref(y|x),  |y| tokens of a response
    """

    kind: ClassVar[str] = "rpo_average"

    beta: float = setting(0.5, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)
    eta: float = setting(0.2, "weight of the likelihood per token; 0 is DPO", source="code", ge=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return -logsigmoid(chosen - rejected) - self.eta * candidates.policy.mean[:, 0]

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return math.log(2) - self.eta * candidates.references["initial"].mean[:, 0]


def _recipe(objective: Objective, learning_rate: float) -> Recipe:
    update = AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine")
    return Recipe(method=objective.kind, objective=objective, references={"initial": Cached()}, update=update)


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """RPO; `settings` are those of `RPO`."""
    return _recipe(RPO(**settings), learning_rate)


def average_recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """RPO with the likelihood per token; `settings` are those of `RPOAverage`."""
    return _recipe(RPOAverage(**settings), learning_rate)
