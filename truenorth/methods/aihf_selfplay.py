"""Alignment with Integrated Human Feedback, with self-play: demonstrations against answers of the policy before.

Paper    Li et al. 2024, arXiv:2406.06874
Read     reconstructed
Loss     -preference_weight * log sigmoid( beta * (r_chosen - r_rejected) )  on a pair,
         -demonstration_weight * log sigmoid( beta * (r_demonstration - r_drawn) )  on a demonstration,
         r = log pi(y|x) - log pi_round(y|x), and the drawn answer one of pi_round, the policy at the round's start
Recipe   ours: AdamW, learning rate 5e-7, three rounds, each a pass over all rows
Differs  in what could not be read. That there is a form with self-play is from the abstract and from reviews; its
         formula is put together from the paper's two expectations: on demonstrations SPIN's loss (arXiv:2401.01335),
         on pairs iterative DPO's. Whether the paper compares pairs with the round's policy or with the start is not
         known; `references.round.kind=frozen` takes the start for both kinds. Weights, beta and recipe are ours.
         Each row counts the same, so that the kinds weigh as their numbers of rows do. A held-out demonstration has no
         drawn answer: r_drawn is 0 there, as of one that the policy has neither learnt nor unlearnt.
"""

import math
from typing import ClassVar

import torch
from pydantic import model_validator
from torch import Tensor

from ..contrasts import soft_pair
from ..models.references import Moving
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..schedule import Rounds
from ..settings import setting
from ..types import Candidates
from .aihf import is_demonstration, refuse_no_weight


class AIHFSelfPlay(Objective):
    """DPO on pairs and SPIN on demonstrations, both against the round's policy."""

    kind: ClassVar[str] = "aihf_selfplay"
    references: ClassVar = ("round",)
    candidates: ClassVar[tuple[int, int | None]] = (1, 2)
    demonstrations: ClassVar[bool] = True
    completes_demonstrations: ClassVar[bool] = True

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the round's policy", source="ours", gt=0)
    demonstration_weight: float = setting(
        1.0, "of a demonstration against a drawn answer; 0 is iterative DPO", source="ours", ge=0
    )
    preference_weight: float = setting(1.0, "of a pair's loss; 0 is SPIN", source="ours", ge=0)

    @model_validator(mode="after")
    def _something_is_learnt(self) -> "AIHFSelfPlay":
        refuse_no_weight(self.demonstration_weight, self.preference_weight)
        return self

    def __call__(self, candidates: Candidates) -> Tensor:
        rewards = self.implicit_rewards(candidates)
        margin = rewards[:, 0] - rewards[:, 1:].sum(-1)  # a held-out demonstration stands alone: the sum is 0
        return self._weight(candidates) * soft_pair(margin, 1.0)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("round")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return self._weight(candidates) * math.log(2)

    def _weight(self, candidates: Candidates) -> Tensor:
        """[B] by the kind of each row; of rows of one answer all are demonstrations."""
        pairs = torch.full_like(candidates.policy.total[:, 0], self.preference_weight)
        if is_demonstration(candidates):
            return torch.full_like(pairs, self.demonstration_weight)
        if "demonstration" not in candidates.columns:  # held-out pairs
            return pairs
        return torch.where(candidates.columns["demonstration"] > 0, self.demonstration_weight, pairs)


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """AIHF with self-play; `settings` are those of `AIHFSelfPlay`."""
    return Recipe(
        method="aihf_selfplay",
        objective=AIHFSelfPlay(**settings),
        references={"round": Moving(every=1, unit="rounds", share=1)},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
        schedule=Rounds(rounds=3, compared="rows", k=1),
    )
