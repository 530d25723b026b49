"""Direct Preference Optimization.

Paper    Rafailov et al. 2023, arXiv:2305.18290
Read     code
Loss     Eq. 7:  -log sigmoid( beta * (r_chosen - r_rejected) ),  r = log pi(y|x) - log pi_ref(y|x)
Recipe   paper: RMSprop, learning rate 1e-6 after 150 steps of warm-up, constant; the clip of 10 is the code's
Differs  in nothing at label_smoothing = 0. With it (cDPO, from the authors' code) a share of the labels is believed
         flipped:  -(1 - label_smoothing) log sigmoid(margin) - label_smoothing log sigmoid(-margin)
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..contrasts import soft_pair
from ..models.references import Cached
from ..optim.update import RMSprop
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class LogRatioPair(Objective):
    """Abstract: the loss of Eq. 7, whatever the reference is. For methods that bring another one."""

    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="paper", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return soft_pair(chosen - rejected, 1.0)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


class DPO(LogRatioPair):
    """Cross-entropy of the policy's own preference with the label."""

    kind: ClassVar[str] = "dpo"

    label_smoothing: float = setting(
        0.0, "share of labels believed flipped", source="paper", why="at 0.5 the labels say nothing", ge=0, lt=0.5
    )

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return soft_pair(chosen - rejected, 1 - self.label_smoothing)


def recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """DPO; `settings` are those of `DPO`."""
    return Recipe(
        method="dpo",
        objective=DPO(**settings),
        references={"initial": Cached()},
        update=RMSprop(learning_rate=learning_rate, warmup_steps=150, decay="constant", max_grad_norm=10.0),
    )
