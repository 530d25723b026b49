"""Supervised fine-tuning on one good response per prompt: the stage before preferences, or a part of a sum.

Paper    Ouyang et al. 2022, arXiv:2203.02155, its step 1
Read     others: common to all libraries
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
    """Supervised fine-tuning on one good response per prompt, the stage before preferences.

    Loss     -log pi(y|x) / |y|,  |y| tokens of the response; the prompt's tokens are not learned
    """

    kind: ClassVar[str] = "sft"
    references: ClassVar[tuple[str, ...]] = ()
    candidates: ClassVar[tuple[int, int | None]] = (1, 1)

    def __call__(self, candidates: Candidates) -> Tensor:
        return -candidates.policy.mean[:, 0]

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return candidates.policy.mean


class ChosenSFT(Objective):
    """Supervised fine-tuning on the best of a prompt's responses, mostly as a part of a sum.

    Loss     -log pi(chosen|x) / |chosen|,  |y| tokens of a response; the rejected ones are left alone
    """

    kind: ClassVar[str] = "sft_chosen"
    references: ClassVar[tuple[str, ...]] = ()
    candidates: ClassVar[tuple[int, int | None]] = (2, None)
    invariances: ClassVar = frozenset({"permuted_rejected"})

    def __call__(self, candidates: Candidates) -> Tensor:
        return -candidates.policy.mean[:, 0]

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return candidates.policy.mean


class ChosenSFTSum(Objective):
    """Supervised fine-tuning on the best of a prompt's responses, a long one counting more.

    Loss     -log pi(chosen|x), summed over tokens;  the rejected responses are left alone, and in a sum with DPO this
             makes RPO
    """

    kind: ClassVar[str] = "sft_chosen_sum"
    references: ClassVar[tuple[str, ...]] = ()
    candidates: ClassVar[tuple[int, int | None]] = (2, None)
    invariances: ClassVar = frozenset({"permuted_rejected"})

    def __call__(self, candidates: Candidates) -> Tensor:
        return -candidates.policy.total[:, 0]

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return candidates.policy.total


def _recipe(objective: Objective, learning_rate: float) -> Recipe:
    update = AdamW(learning_rate=learning_rate, warmup_share=0.03, decay="cosine")
    return Recipe(method=objective.kind, objective=objective, references={}, update=update)


def recipe(*, learning_rate: float = 1e-5) -> Recipe:
    """Supervised fine-tuning; there is nothing to set but the optimizer."""
    return _recipe(SFT(), learning_rate)


def chosen_recipe(*, learning_rate: float = 1e-5) -> Recipe:
    """Supervised fine-tuning on the best of each row's answers."""
    return _recipe(ChosenSFT(), learning_rate)


def chosen_sum_recipe(*, learning_rate: float = 1e-5) -> Recipe:
    """The same, summed over tokens."""
    return _recipe(ChosenSFTSum(), learning_rate)
