"""Binary Classifier Optimization: good and bad answers told apart by the policy's own reward.

Paper    Jung et al. 2024, arXiv:2404.04656
Read     code
Loss     -log sigmoid(  beta * r - shift )  for a desirable answer,
         -log sigmoid( -(beta * r - shift) )  for an undesirable one,  r = log pi(y|x) - log pi_ref(y|x),
         shift = (mean of beta * r over the desirable + the same over the undesirable) / 2, without gradients
Recipe   ours: AdamW, learning rate 5e-7, linear after a warm-up over 10 % of the steps, clip 1.0
Differs  in where the shift's means are taken: over this step; the authors', in their part of TRL, over all steps so
         far, which a killed run has to carry along. Where a step has answers of one label only, the shift is their
         mean. Their weights for prompts that differ between good and bad answers are not here: give them as `weight`.
         Loss and shift were read in their code, its learning rates were not.
"""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..contrasts import soft_pair
from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates, StepSummary


def middle(step: StepSummary) -> Tensor:
    """Nats: halfway between the mean log-ratios of the step's good and of its bad answers, by their weights."""
    label = step.columns["label"]
    shares = step.shares * torch.stack([label, 1 - label])  # [2, B_step]
    present = shares.sum(-1) > 0
    sums = (shares * step.log_ratio["initial"][:, 0]).sum(-1)
    means = sums / torch.where(present, shares.sum(-1), 1.0)
    return means.sum() / present.sum()


class BCO(Objective):
    """Cross-entropy of a classifier with each answer's label; its logit is the reward against the step's middle."""

    kind: ClassVar[str] = "bco"
    candidates: ClassVar[tuple[int, int | None]] = (1, 1)
    columns: ClassVar[tuple[str, ...]] = ("label",)
    scope: ClassVar[Literal["row", "step"]] = "step"

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        assert candidates.step is not None  # `scope` has asked for it
        shift = self.beta * middle(candidates.step)
        return soft_pair(self.implicit_rewards(candidates)[:, 0] - shift, candidates.columns["label"])

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """BCO; `settings` are those of `BCO`."""
    return Recipe(
        method="bco",
        objective=BCO(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1),
    )
