"""Mallows-DPO: prompts on which people agree count with a larger beta.

Paper    Chen et al. 2024, arXiv:2405.14953, its theta form (MallowsPO in later versions)
Loss     -log sigmoid( -scale * log(dispersion) * beta * (r_chosen - r_rejected) ),
         r = log pi(y|x) - log pi_ref(y|x),  -scale * log(dispersion) estimates the paper's -2 log phi(x)
Recipe   ours: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps, beta as in DPO
Differs  from the paper in where the dispersion comes from: the data bring it, as a column in (0, 1). The paper's is
         the reference's entropy per token on the responses, divided by log |V|, averaged over both; no pass of ours
         computes it yet. It is held to [1e-6, 1], so that none turns a label round. The factor 2 is part of `scale`,
         as in the authors' code, whose 0.29 goes with rewards per token without a reference. The estimator was read
         in that code, not in the paper. A scale of 1 / mean(-log dispersion) keeps DPO's beta on average.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class MallowsDPO(Objective):
    """DPO's loss with a beta of each prompt's own, from how much people disagree on it."""

    kind: ClassVar[str] = "mallows_dpo"
    columns: ClassVar[tuple[str, ...]] = ("dispersion",)
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="paper", gt=0)
    scale: float = setting(0.29, "of -log dispersion; 1 over its mean keeps beta", source="code", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        dispersion = candidates.columns["dispersion"].clamp(1e-6, 1.0)
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return -logsigmoid(-self.scale * dispersion.log() * (chosen - rejected))

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """Mallows-DPO; `settings` are those of `MallowsDPO`."""
    return Recipe(
        method="mallows_dpo",
        objective=MallowsDPO(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )
