"""Efficient Exact Optimization, and its forward twin.

Paper    Ji et al. 2024, arXiv:2402.00856; beta is its beta_pi, reward_temperature its beta_r
Read     code
Recipe   code: AdamW with betas (0.9, 0.95), learning rate 1e-6, cosine without warm-up, clip 1.0;
         beta as on IMDB for pairs, as on TL;DR and HH with rewards
Differs  from the authors' code: it divides logits by 0.8, its sampling temperature; its epsilon is e^-10, unnormalised
"""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from ..contrasts import cross_entropy, reverse_kl
from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Reads, Recipe
from ..settings import setting
from ..types import Candidates


class EXO(Objective):
    """Efficient Exact Optimization from pairs.

    Loss     Eq. 16:  KL( softmax(beta * r) || (1 - epsilon, epsilon) ),  r = log pi(y|x) - log pi_ref(y|x)
    """

    kind: ClassVar[str] = "exo"
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)
    epsilon: float = setting(
        1e-3, "probability left to the rejected", source="ours", why="at 0 the loss is infinite", gt=0, lt=0.5
    )

    def __call__(self, candidates: Candidates) -> Tensor:
        rewards = self.implicit_rewards(candidates)
        log_target = rewards.new_tensor([math.log1p(-self.epsilon), math.log(self.epsilon)])
        return reverse_kl(rewards, log_target)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        loss = -math.log(2) - 0.5 * math.log(self.epsilon * (1 - self.epsilon))
        return torch.full_like(candidates.policy.total[:, 0], loss)


class FromRewards(Objective):
    """Abstract: what the two losses over K rewarded responses share."""

    candidates: ClassVar[tuple[int, int | None]] = (2, None)
    reads: ClassVar[frozenset[Reads]] = frozenset({"rewards"})
    invariances: ClassVar = frozenset({"prompt_shift", "permuted_rejected", "reward_shift"})

    beta: float = setting(0.5, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)
    reward_temperature: float = setting(0.5, "units of reward; smaller trusts rewards more", source="code", gt=0)

    def log_target(self, candidates: Candidates) -> Tensor:
        """[B, K] nats: log softmax(rewards / reward_temperature)."""
        assert candidates.rewards is not None  # `reads` has asked for them
        return log_softmax(candidates.rewards / self.reward_temperature, -1)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")


class EXOReward(FromRewards):
    """Efficient Exact Optimization from K responses with rewards.

    Loss     L_exo:  KL( softmax(beta * r) || q ),  r = log pi(y|x) - log pi_ref(y|x),
             q = softmax(reward / reward_temperature)
    """

    kind: ClassVar[str] = "exo_rw"

    def __call__(self, candidates: Candidates) -> Tensor:
        return reverse_kl(self.implicit_rewards(candidates), self.log_target(candidates))

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return -math.log(candidates.policy.total.shape[-1]) - self.log_target(candidates).mean(-1)


class DPOReward(FromRewards):
    """DPO from K responses with rewards: the forward-KL twin of EXO.

    Loss     L_dpo-rw:  -sum q log softmax(beta * r),  r = log pi(y|x) - log pi_ref(y|x),
             q = softmax(reward / reward_temperature);  equal to KL( q || softmax(beta * r) ) plus the entropy of q
    """

    kind: ClassVar[str] = "dpo_rw"

    def __call__(self, candidates: Candidates) -> Tensor:
        return cross_entropy(self.implicit_rewards(candidates), self.log_target(candidates).exp())

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(candidates.policy.total.shape[-1]))


def _recipe(objective: Objective, learning_rate: float) -> Recipe:
    update = AdamW(learning_rate=learning_rate, betas=(0.9, 0.95), decay="cosine", max_grad_norm=1.0, weight_decay=0.0)
    return Recipe(method=objective.kind, objective=objective, references={"initial": Cached()}, update=update)


def recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """EXO from pairs; `settings` are those of `EXO`."""
    return _recipe(EXO(**settings), learning_rate)


def reward_recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """EXO from K responses with rewards; `settings` are those of `EXOReward`."""
    return _recipe(EXOReward(**settings), learning_rate)


def forward_recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """DPO from K responses with rewards; `settings` are those of `DPOReward`."""
    return _recipe(DPOReward(**settings), learning_rate)
