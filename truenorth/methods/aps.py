"""Adaptive preference scaling (Ada-DPO): each pair has the temperature that suits its margin.

Paper    Hong et al. 2024, arXiv:2406.02764
Read     paper, code
Loss     min over tau in [tau_min, tau_max] of  -tau log sigmoid(m / tau) + (rho - log 2) tau,
         m = beta * (r_chosen - r_rejected),  r = log pi(y|x) - log pi_ref(y|x)
Recipe   code: AdamW, learning rate 5e-5 (LoRA)
Differs  in how the minimum is found: theirs takes 5 Newton steps, ours is its closed form. The best tau is |m| / c,
         held to the bounds, with c from KL( Bernoulli(sigmoid(c)) || 1/2 ) = rho; its derivative drops out, as at any
         minimum. Theirs leaves the rho term out of the value (the gradient is the same) and adds 1e-6 inside
         logarithms.
"""

import math
from functools import cache
from typing import ClassVar

import torch
from pydantic import model_validator
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..errors import SettingsError
from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class APS(Objective):
    """DPO's loss under the best temperature in bounds: its slope is constant for margins of middling size."""

    kind: ClassVar[str] = "aps"
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)
    rho: float = setting(0.1, "nats that a temperature costs; from log 2 on it stays lowest", source="code", gt=0)
    tau_min: float = setting(0.1, "lowest temperature", source="code", gt=0)
    tau_max: float = setting(5.0, "highest temperature", source="code", gt=0)

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "APS":
        if self.tau_min > self.tau_max:
            raise SettingsError(f"APS's tau_min must not exceed its tau_max, got {self.tau_min} and {self.tau_max}.")
        return self

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        margin = chosen - rejected
        tau = (margin.detach().abs() / _best_ratio(self.rho)).clamp(self.tau_min, self.tau_max)
        return -tau * logsigmoid(margin / tau) + (self.rho - math.log(2)) * tau

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], self.tau_min * self.rho)


@cache
def _best_ratio(rho: float) -> float:
    """c > 0 with KL( Bernoulli(sigmoid(c)) || 1/2 ) = rho, infinite where rho is log 2 or more."""
    if rho >= math.log(2):
        return math.inf
    low, high = 0.0, 40.0  # the divergence grows with c, at 40 it is log 2 to the last bit
    for _ in range(64):  # halves
        c = (low + high) / 2
        log_p, q = -math.log1p(math.exp(-c)), 1 / (1 + math.exp(c))
        divergence = math.log(2) + log_p - q * c  # log 2 + p log p + q log q, with log q = log p - c
        low, high = (low, c) if divergence > rho else (c, high)
    return high


def recipe(*, learning_rate: float = 5e-5, **settings: float) -> Recipe:
    """Ada-DPO; `settings` are those of `APS`."""
    return Recipe(
        method="aps",
        objective=APS(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate),
    )
