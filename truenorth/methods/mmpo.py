"""Margin Matching Preference Optimization: the difference of the scores says how sure a label is.

Paper    Kim et al. 2024, arXiv:2410.03145
Read     code
Loss     -p log sigmoid(m) - (1 - p) log sigmoid(-m),  m = beta * (r_chosen - r_rejected),
         p = sigmoid( gamma * (score_chosen - score_rejected) ),  r = log pi(y|x) - log pi_ref(y|x)
Recipe   code: AdamW, learning rate 5e-7, cosine after a warm-up over 30 % of the steps (Gemma-7B, UltraFeedback)
Differs  in nothing. gamma depends on the scores' units and the model: on UltraFeedback's ratings 2.2 for Gemma-2B and
         Llama-3-8B, 0.3 for Gemma-7B; 1.1 on SHP's votes. The authors' code takes gamma = 0 for hard labels; in the
         formula it says that labels are coins, and ours refuses it.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..contrasts import soft_pair
from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Reads, Recipe
from ..settings import setting
from ..types import Candidates


class MMPO(Objective):
    """Cross-entropy of the policy's own preference with the one that the scores stand for."""

    kind: ClassVar[str] = "mmpo"
    reads: ClassVar[frozenset[Reads]] = frozenset({"rewards"})
    invariances: ClassVar = frozenset({"prompt_shift", "reward_shift"})

    beta: float = setting(0.01, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)
    gamma: float = setting(
        0.3, "per unit of score; larger trusts scores more", source="code", why="at 0 the scores say nothing", gt=0
    )

    def __call__(self, candidates: Candidates) -> Tensor:
        assert candidates.rewards is not None  # `reads` has asked for them
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        score_chosen, score_rejected = candidates.rewards.unbind(-1)
        probability = torch.sigmoid(self.gamma * (score_chosen - score_rejected))
        return soft_pair(chosen - rejected, probability)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """MMPO; `settings` are those of `MMPO`."""
    return Recipe(
        method="mmpo",
        objective=MMPO(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.3, decay="cosine"),
    )
