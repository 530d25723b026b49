"""Anchored Preference Optimization: whether each response should become likelier, not only which of the two.

Paper    D'Oosterlinck et al. 2024, arXiv:2408.06266
Read     others: TRL, which cites the paper
Recipe   ours: AdamW, learning rate 2e-7 as in the paper, linear after a warm-up over 10 % of the steps
Differs  in nothing that is known: the losses, beta and the learning rate are those of TRL, which cites the paper's
         sections; the paper was not read.
"""

from typing import ClassVar

import torch
from torch import Tensor

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class APOZero(Objective):
    """APO for chosen responses better than the model's own: the chosen one rises, the rejected one falls.

    Loss     1 - sigmoid(beta * r_chosen) + sigmoid(beta * r_rejected),  r = log pi(y|x) - log pi_ref(y|x)
    """

    kind: ClassVar[str] = "apo_zero"

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="paper", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return torch.sigmoid(-chosen) + torch.sigmoid(rejected)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.ones_like(candidates.policy.total[:, 0])


class APODown(Objective):
    """APO for chosen responses worse than the model's own: both fall, the rejected one further.

    Loss     sigmoid(beta * r_chosen) + 1 - sigmoid(beta * (r_chosen - r_rejected)),
             r = log pi(y|x) - log pi_ref(y|x)
    """

    kind: ClassVar[str] = "apo_down"

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="paper", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return torch.sigmoid(chosen) + torch.sigmoid(rejected - chosen)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.ones_like(candidates.policy.total[:, 0])


def _recipe(objective: Objective, learning_rate: float) -> Recipe:
    update = AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="linear")
    return Recipe(method=objective.kind, objective=objective, references={"initial": Cached()}, update=update)


def recipe(*, learning_rate: float = 2e-7, **settings: float) -> Recipe:
    """APO-zero; `settings` are those of `APOZero`."""
    return _recipe(APOZero(**settings), learning_rate)


def down_recipe(*, learning_rate: float = 2e-7, **settings: float) -> Recipe:
    """APO-down; `settings` are those of `APODown`."""
    return _recipe(APODown(**settings), learning_rate)
