"""Uncertainty-enhanced Preference Optimization: iterative DPO on the drawn pairs that an estimator is sure of.

Paper    Wang et al. 2024, arXiv:2409.11212
Read     paper, code
Loss     -(1 - alpha) log sigmoid(m) - alpha log sigmoid(-m) - nll * log pi(chosen|x) / |chosen|,
         m = beta * (r_chosen - r_rejected),  r = log pi(y|x) - log pi_round(y|x),  |y| tokens of a response,
         alpha = (1 - c) / 2 of each pair,  c = 1 - B / log 2,  B the estimator's information gain in nats
Recipe   code: AdamW, learning rate 5e-6; three rounds of three passes, six answers to a prompt. A judge's rewards sort
         them; winners are of the better half, losers of the worse. Of the pairs a quarter is put to the estimator, ten
         times each with dropout; of those it agrees with a half is drawn, by chances proportional to (1 - B)^exponent.
         Theirs trains adapters: --lora 16
Differs  from the paper in three places where it cannot be meant as printed. alpha = 1 / (P + 1), with P adding up to 1
         over the data, is near 1 and would turn every label round: ours is in [0, 1/2], 0 where the estimator is sure.
         The likelihood has a plus in a loss that is minimised: ours has a minus. The exponent is printed as a factor,
         which would cancel. From the code in alpha and the likelihood, which it does not have: alpha_share=0, nll=0.
         exponent and nll were not read. The estimator is a judge of ours with dropout, and stays as it is. Scores
         that are equal make no pair.
"""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contrasts import soft_pair
from ..models.references import Moving
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..schedule import Rounds
from ..selection import Informative
from ..settings import setting
from ..types import Candidates


class UPO(Objective):
    """DPO against the round's policy whose labels count by their certainty, with the likelihood held up."""

    kind: ClassVar[str] = "upo"
    references: ClassVar = ("round",)

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the round's policy", source="paper", gt=0)
    nll: float = setting(0.1, "weight of the chosen answer's likelihood, per token", source="ours", ge=0)
    alpha_share: float = setting(1.0, "of a pair's alpha; 0: every label is believed", source="ours", ge=0, le=1)
    estimator: str | None = setting(
        None, "folder of a judge trained with dropout, which says how sure it is; must be given", source="ours"
    )
    runs: int = setting(10, "of the estimator, each with other units left out", source="paper", ge=1)
    estimated: float = setting(0.25, "share of the pairs that the estimator is asked about", source="code", gt=0, le=1)
    kept: float = setting(0.5, "share of the pairs it agrees with that are learnt from", source="code", gt=0, le=1)
    exponent: float = setting(1.0, "mu: of 1 - B in a pair's chance to be drawn; 0: all alike", source="ours", ge=0)

    @property
    def selection(self) -> Informative:
        return Informative(self.estimator, self.runs, self.estimated, self.kept, self.exponent)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return soft_pair(chosen - rejected, self._belief(candidates)) - self.nll * candidates.policy.mean[:, 0]

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("round")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return math.log(2) - self.nll * candidates.references["round"].mean[:, 0]

    def _belief(self, candidates: Candidates) -> Tensor:
        """[B] in [1/2, 1]: 1 - alpha of each pair, 1 where nobody was asked, as of held-out rows."""
        sure = torch.zeros_like(candidates.policy.total[:, 0])
        return 1 - self.alpha_share * candidates.columns.get("uncertainty", sure) / 2


def recipe(*, learning_rate: float = 5e-6, **settings: Any) -> Recipe:
    """UPO; `settings` are those of `UPO`."""
    return Recipe(
        method="upo",
        objective=UPO(**settings),
        references={"round": Moving(every=1, unit="rounds", share=1)},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
        schedule=Rounds(rounds=3, epochs=3, k=6),
    )
