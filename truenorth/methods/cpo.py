"""Contrastive Preference Optimization: DPO without a reference, and learning the chosen response besides.

Paper    Xu et al. 2024, arXiv:2401.08417
Read     code
Loss     -log sigmoid( beta * (log pi(chosen|x) - log pi(rejected|x)) ) - nll_weight * log pi(chosen|x) / |chosen|,
         |y| tokens of a response
Recipe   code: AdamW, learning rate 1e-4, warm-up over 1 % of the steps (LoRA); the code decays as 1 / sqrt(step), ours
         linearly
Differs  from the paper's print, where the second term is the sum over tokens: the mean is the authors' code's, which
         weighs every token of a batch alike, ours every response. The code was read, the print is quoted from memory.
"""

from typing import ClassVar

from torch import Tensor

from ..contrasts import soft_pair
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class CPO(Objective):
    """DPO's loss against a reference that finds all responses equally likely, and the chosen response's likelihood."""

    kind: ClassVar[str] = "cpo"
    references: ClassVar[tuple[str, ...]] = ()

    beta: float = setting(0.1, "scale of the log-probabilities", source="code", gt=0)
    nll_weight: float = setting(1.0, "weight of learning the chosen response", source="paper", ge=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return soft_pair(chosen - rejected, 1.0) - self.nll_weight * candidates.policy.mean[:, 0]

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.policy.total


def recipe(*, learning_rate: float = 1e-4, **settings: float) -> Recipe:
    """CPO; `settings` are those of `CPO`."""
    return Recipe(
        method="cpo",
        objective=CPO(**settings),
        references={},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.01, weight_decay=0.01),
    )
