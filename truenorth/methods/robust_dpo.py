"""Robust DPO: unbiased where a known share of the labels is flipped.

Paper    Chowdhury et al. 2024, arXiv:2403.00409
Read     others: TRL, which cites the paper
Loss     ( (1 - epsilon) l(m) - epsilon l(-m) ) / (1 - 2 epsilon),  l(m) = -log sigmoid(m),
         m = beta * (r_chosen - r_rejected),  r = log pi(y|x) - log pi_ref(y|x)
Recipe   ours: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps
Differs  in the learning rate: TRL gives the paper's as 1e-3, far too large for full weights. Formula, beta and
         epsilon are those of TRL, which cites the paper's sections; the paper was not read. Conservative DPO (cDPO),
         which bounds the margin instead, is `dpo` with its label_smoothing.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..contrasts import soft_pair
from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class RobustDPO(Objective):
    """DPO's loss, corrected so that flipped labels cancel in the mean."""

    kind: ClassVar[str] = "robust_dpo"
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.01, "inverse temperature; larger stays nearer to the reference", source="paper", gt=0)
    epsilon: float = setting(
        0.1, "share of labels flipped; 0 is DPO", source="paper", why="at 0.5 the labels say nothing", ge=0, lt=0.5
    )

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        # Weights that sum to 1, one above it and one below 0: a label more certain than certain.
        return soft_pair(chosen - rejected, (1 - self.epsilon) / (1 - 2 * self.epsilon))

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """Robust DPO; `settings` are those of `RobustDPO`."""
    return Recipe(
        method="robust_dpo",
        objective=RobustDPO(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )
