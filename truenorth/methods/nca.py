"""Noise Contrastive Alignment: each response is told from noise, so the chosen one's likelihood cannot sink.

Paper    Chen et al. 2024, arXiv:2402.05369; beta as in its code, reward_temperature its alpha
Read     others: TRL for pairs, which the authors point to; memory for K responses
Recipe   code: AdamW, learning rate 5e-6, cosine after a warm-up over 10 % of the steps (LoRA)
Differs  in the reward temperature: theirs is 1e-4, at which only the best response counts. The loss of pairs is TRL's,
         which the authors point to; with K responses and with rewards it is remembered, and the former is the latter's
         limit at temperature 0. The paper's other loss, InfoNCA, is `dpo_rw`.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softmax

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Reads, Recipe
from ..settings import setting
from ..types import Candidates


class NCA(Objective):
    """Noise Contrastive Alignment from one chosen and any number of rejected responses.

    Loss     -log sigmoid(beta * r_chosen) - 1/K sum over all K responses of log sigmoid(-beta * r),
             r = log pi(y|x) - log pi_ref(y|x)
    """

    kind: ClassVar[str] = "nca"
    candidates: ClassVar[tuple[int, int | None]] = (2, None)
    invariances: ClassVar = frozenset({"permuted_rejected"})

    beta: float = setting(0.01, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        rewards = self.implicit_rewards(candidates)
        return -logsigmoid(rewards[:, 0]) - logsigmoid(-rewards).mean(-1)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], 2 * math.log(2))


class NCAReward(Objective):
    """Noise Contrastive Alignment from K responses with rewards.

    Read     memory
    Loss     -sum over all K responses of ( q log sigmoid(beta * r) + 1/K log sigmoid(-beta * r) ),
             r = log pi(y|x) - log pi_ref(y|x),  q = softmax(reward / reward_temperature)
    """

    kind: ClassVar[str] = "nca_rw"
    candidates: ClassVar[tuple[int, int | None]] = (2, None)
    reads: ClassVar[frozenset[Reads]] = frozenset({"rewards"})
    invariances: ClassVar = frozenset({"permuted_rejected", "reward_shift"})

    beta: float = setting(0.01, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)
    reward_temperature: float = setting(0.5, "units of reward; smaller trusts rewards more", source="ours", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        assert candidates.rewards is not None  # `reads` has asked for them
        rewards = self.implicit_rewards(candidates)
        q = softmax(candidates.rewards / self.reward_temperature, -1)
        return -(q * logsigmoid(rewards)).sum(-1) - logsigmoid(-rewards).mean(-1)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], 2 * math.log(2))


def _recipe(objective: Objective, learning_rate: float) -> Recipe:
    update = AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine")
    return Recipe(method=objective.kind, objective=objective, references={"initial": Cached()}, update=update)


def recipe(*, learning_rate: float = 5e-6, **settings: float) -> Recipe:
    """NCA from labels; `settings` are those of `NCA`."""
    return _recipe(NCA(**settings), learning_rate)


def reward_recipe(*, learning_rate: float = 5e-6, **settings: float) -> Recipe:
    """NCA from rewards; `settings` are those of `NCAReward`."""
    return _recipe(NCAReward(**settings), learning_rate)
