"""Iterative Nash Policy Optimization: the step of self-play to a regularised equilibrium, as a squared loss of pairs.

Paper    Zhang et al. 2024, arXiv:2407.00617; eta is its eta, an inverse step size
Read     others: COMAL's code, which has INPO as its inner solver
Loss     ( h_chosen - h_rejected - 1 / (2 eta) )^2,  h = log pi - pull * log pi_initial - (1 - pull) * log pi_round,
         pull = tau / eta: the minimiser over all policies is mirror descent's next one, with a KL of weight tau
Recipe   ours: AdamW, rounds over all prompts; the reference of the round is the policy at its start
Differs  in the update, which COMAL's code shares out over eight GPUs, and in the judge. The label stands for a certain
         win, as in that code; of more than two answers the best and the worst make the pair.
"""

from typing import ClassVar

import torch
from torch import Tensor

from ..models.references import Frozen, Moving
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..schedule import Rounds
from ..settings import setting
from ..types import Candidates


class INPO(Objective):
    """Squared distance of the margin from the one that a won pair stands for, from a mixture of two references."""

    kind: ClassVar[str] = "inpo"
    references: ClassVar = ("initial", "round")
    invariances: ClassVar = frozenset({"prompt_shift"})

    eta: float = setting(0.002, "1 over twice the margin to reach, in nats", source="code", gt=0)
    pull: float = setting(1 / 3, "tau / eta: share of the start in what is compared with", source="code", ge=0, le=1)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self._h(candidates).unbind(-1)
        return (chosen - rejected - 1 / (2 * self.eta)) ** 2

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.eta * self._h(candidates)

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], 1 / (2 * self.eta) ** 2)

    def _h(self, candidates: Candidates) -> Tensor:
        """[B, K] nats."""
        return self.pull * candidates.log_ratio("initial") + (1 - self.pull) * candidates.log_ratio("round")


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """INPO; `settings` are those of `INPO`."""
    return Recipe(
        method="inpo",
        objective=INPO(**settings),
        references={"initial": Frozen(), "round": Moving(every=1, unit="rounds", share=1)},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
        schedule=Rounds(k=5, rounds=3),
    )
