"""Exploratory Preference Optimization: online DPO with a bonus for leaving what the reference would answer.

Paper    Xie et al. 2024, arXiv:2405.21046
Read     others: TRL
Loss     -log sigmoid( beta * (r_chosen - r_rejected) ) + alpha * r_sample,  r = log pi(y|x) - log pi_ref(y|x);
         the pair is an answer of the policy and one of the reference, the judge's better one chosen, and the sample is
         the reference's, whoever won
Recipe   ours: AdamW; the reference is the policy's start and stays
Differs  from the paper in what is not known: it was not read, and its answers for the bonus may be others than those
         it compares. From TRL in when answers are drawn: there for every step (`schedule.prompts=batch`), here by
         default for a round of steps. Of more than two answers the best and the worst make the pair. log pi_ref of the
         sample is a constant, there so that the loss starts at log 2.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..contrasts import soft_pair
from ..models.references import Frozen
from ..optim.update import AdamW
from ..recipe import Objective, Opponent, Recipe
from ..schedule import Rounds
from ..settings import setting
from ..types import Candidates
from .selm import log_ratio_of_sample


class XPO(Objective):
    """DPO on drawn pairs, and a pull away from what the reference would answer."""

    kind: ClassVar[str] = "xpo"
    sample: ClassVar = "opponent"
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="ours", gt=0)
    alpha: float = setting(1e-5, "weight of the exploration; 0 is DPO on the same pairs", source="ours", ge=0)

    @property
    def opponent(self) -> Opponent:
        return Opponent(answers=1, reference="initial", share=1.0)  # the reference itself

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return soft_pair(chosen - rejected, 1.0) + self.alpha * log_ratio_of_sample(candidates, "initial")

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """XPO; `settings` are those of `XPO`."""
    return Recipe(
        method="xpo",
        objective=XPO(**settings),
        references={"initial": Frozen()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="constant"),
        schedule=Rounds(k=1),
    )
