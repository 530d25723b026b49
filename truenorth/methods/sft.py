"""Supervised fine-tuning on one good response per prompt, the stage before preferences.

Paper    Ouyang et al. 2022, arXiv:2203.02155, its step 1
Loss     -log pi(y|x) / |y|,  |y| tokens of the response; the prompt's tokens are not learned
Recipe   ours: AdamW, learning rate 1e-5, cosine after a warm-up over 3 % of the steps, clip 1.0
Differs  in the mean: most trainers weigh every token of a batch alike, ours every response, so that a long answer
         does not count more than a short one and the loss of a row does not depend on its neighbours.
"""

from typing import ClassVar

from torch import Tensor

from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..types import Candidates


class SFT(Objective):
    """Minus the log-probability of the response, per token."""

    kind: ClassVar[str] = "sft"
    references: ClassVar[tuple[str, ...]] = ()
    candidates: ClassVar[tuple[int, int | None]] = (1, 1)

    def __call__(self, candidates: Candidates) -> Tensor:
        return -candidates.policy.mean[:, 0]

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return candidates.policy.mean


def recipe(*, learning_rate: float = 1e-5) -> Recipe:
    """Supervised fine-tuning; there is nothing to set but the optimizer."""
    return Recipe(
        method="sft",
        objective=SFT(),
        references={},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.03, decay="cosine"),
    )
