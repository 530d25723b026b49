"""DPO under other divergences than the reverse KL.

Paper    Wang et al. 2023, arXiv:2309.16240; u = pi(y|x) / pi_ref(y|x), f' the derivative of the divergence's f
Read     code
Recipe   ours: as DPO's, RMSprop, learning rate 1e-6 after 150 steps of warm-up, constant, clip 10
Differs  from the authors' code in large exponents, which overflow there: above 20 nats our exponential goes on along
         its tangent. Constants that cancel between the two responses are such that f' is 0 where policy and reference
         agree; the losses are the same. Their alpha lies within (0, 1); ours takes both limits in.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu, softplus

from ..models.references import Cached
from ..optim.update import RMSprop
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates

LARGEST_EXPONENT = 20.0  # nats; exp(20) is 5e8, and float32 still holds it times 1e4


class FDivergenceDPO(Objective):
    """DPO under an alpha-divergence, from the reverse KL (alpha 0, DPO) to the forward KL (alpha 1).

    Loss     -log sigmoid( beta * (f'(u_chosen) - f'(u_rejected)) ),  f'(u) = (1 - u^-alpha) / alpha,
             log u for alpha = 0
    """

    kind: ClassVar[str] = "f_divergence_dpo"

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)
    alpha: float = setting(0.5, "0 is the reverse KL, 1 the forward KL", source="code", ge=0, le=1)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return -logsigmoid(chosen - rejected)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        log_u = candidates.log_ratio("initial")
        slope = -_exponential_less_one(-self.alpha * log_u) / self.alpha if self.alpha else log_u
        return self.beta * slope

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


class JensenShannonDPO(Objective):
    """DPO under the Jensen-Shannon divergence, whose rewards stay below beta * log 2.

    Loss     -log sigmoid( beta * (f'(u_chosen) - f'(u_rejected)) ),  f'(u) = log( 2 u / (1 + u) )
    """

    kind: ClassVar[str] = "js_dpo"

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return -logsigmoid(chosen - rejected)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * (math.log(2) - softplus(-candidates.log_ratio("initial")))

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


def _exponential_less_one(x: Tensor) -> Tensor:
    """exp(x) - 1, from LARGEST_EXPONENT on along its tangent there."""
    return torch.expm1(x.clamp(max=LARGEST_EXPONENT)) + math.exp(LARGEST_EXPONENT) * relu(x - LARGEST_EXPONENT)


def _recipe(objective: Objective, learning_rate: float) -> Recipe:
    update = RMSprop(learning_rate=learning_rate, warmup_steps=150, decay="constant", max_grad_norm=10.0)
    return Recipe(method=objective.kind, objective=objective, references={"initial": Cached()}, update=update)


def recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """DPO under an alpha-divergence; `settings` are those of `FDivergenceDPO`."""
    return _recipe(FDivergenceDPO(**settings), learning_rate)


def jensen_shannon_recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """DPO under the Jensen-Shannon divergence; `settings` are those of `JensenShannonDPO`."""
    return _recipe(JensenShannonDPO(**settings), learning_rate)
