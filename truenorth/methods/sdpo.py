"""Softmax-DPO: one chosen response against several rejected ones.

Paper    Chen et al. 2024, arXiv:2406.09215
Read     code
Loss     -log sigmoid( -log sum_rejected exp( beta * (r_rejected - r_chosen) ) ),
         r = log pi(y|x) - log pi_ref(y|x);  equal to minus log softmax(beta * r) at the chosen response
Recipe   code: AdamW, learning rate 1e-5, cosine after a warm-up over 5 % of the steps, clip 0.3 (LoRA, 3 epochs)
Differs  from the authors' code in the sum: theirs is a plain sum of exponentials, which overflows; ours does not.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class SDPO(Objective):
    """Cross-entropy of the policy's choice among K responses with the chosen one."""

    kind: ClassVar[str] = "sdpo"
    candidates: ClassVar[tuple[int, int | None]] = (2, None)
    invariances: ClassVar = frozenset({"prompt_shift", "permuted_rejected"})

    beta: float = setting(1.0, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        return -log_softmax(self.implicit_rewards(candidates), -1)[:, 0]

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(candidates.policy.total.shape[-1]))


def recipe(*, learning_rate: float = 1e-5, **settings: float) -> Recipe:
    """Softmax-DPO; `settings` are those of `SDPO`."""
    return Recipe(
        method="sdpo",
        objective=SDPO(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.05, decay="cosine", max_grad_norm=0.3),
    )
