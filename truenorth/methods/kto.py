"""Kahneman-Tversky Optimization: from single answers that are good or bad, without pairs.

Paper    Ethayarajh et al. 2024, arXiv:2402.01306
Read     code
Loss     weight * (1 - sigmoid( beta * (r - baseline) ))  for a desirable answer,
         weight * (1 - sigmoid( beta * (baseline - r) ))  for an undesirable one,
         r = log pi(y|x) - log pi_ref(y|x),  baseline = max(0, mean of r over the step), without gradients
Recipe   code: AdamW, learning rate 5e-6 after 150 steps of warm-up; constant as in its first versions, from memory
Differs  in the baseline. The paper's, and TRL's, is the mean of r over mismatched pairs, where each prompt has another
         one's answer: an estimate of KL(pi || pi_ref) that costs a further pass over further texts, and that depends
         on the micro-batch. Ours is the mean over the step's own answers, by weight: no further text is scored and any
         split of the step gives the same. But it is no KL: it follows what is trained, rises with the good answers and
         is 0 while bad ones fall faster. Loss, beta and weights were read in the authors' code.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates, StepSummary


def baseline(step: StepSummary) -> Tensor:
    """Nats: the mean log-ratio of the step's answers by their weight, at least 0."""
    return (step.shares * step.log_ratio["initial"][:, 0]).sum().clamp(min=0)


class KTO(Objective):
    """How far each answer falls short of being clearly a gain, or clearly a loss, against the step's mean."""

    kind: ClassVar[str] = "kto"
    candidates: ClassVar[tuple[int, int | None]] = (1, 1)
    columns: ClassVar[tuple[str, ...]] = ("label",)
    scope: ClassVar[Literal["row", "step"]] = "step"

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)
    desirable_weight: float = setting(
        1.0, "weight of a good answer; all good ones should weigh 1 to 4/3 of all bad ones", source="code", gt=0
    )
    undesirable_weight: float = setting(1.0, "weight of a bad answer", source="code", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        assert candidates.step is not None  # `scope` has asked for it
        gain = self.implicit_rewards(candidates)[:, 0] - self.beta * baseline(candidates.step)
        sign = 2 * candidates.columns["label"] - 1
        return self.weights(candidates) * torch.sigmoid(-sign * gain)

    def weights(self, candidates: Candidates) -> Tensor:
        """[B] by label."""
        label = candidates.columns["label"]
        return self.desirable_weight * label + self.undesirable_weight * (1 - label)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return self.weights(candidates) / 2


def recipe(*, learning_rate: float = 5e-6, **settings: float) -> Recipe:
    """KTO; `settings` are those of `KTO`."""
    return Recipe(
        method="kto",
        objective=KTO(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_steps=150, decay="constant"),
    )
