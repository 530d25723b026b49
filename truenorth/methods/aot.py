"""Alignment via Optimal Transport: whole distributions compared by rank, not pair by pair.

Paper    Melnyk et al. 2024, arXiv:2406.05882
Read     code: the authors' part of TRL
Recipe   ours: AdamW, learning rate 5e-7, linear after a warm-up over 10 % of the steps
Differs  from TRL's, which sorts each micro-batch by itself and takes rows as equally many and equally heavy: ours
         sorts the whole step, with weights, so that any split of it gives the same. Ranks are hard; the paper also has
         soft ones. The paper's settings were not read.
"""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates

Weighted = tuple[Tensor, Tensor]  # [S] points, [S] what each counts; 0 is not being there
TINY = 1e-30  # below any share


def coupled(values: Tensor, source: Weighted, target: Weighted) -> Weighted:
    """What optimal transport in one dimension moves each of `values`, of the source, to: points of the target.

    [B] -> [S] points and [B, S] shares, each row 1 in all, or 0 where one side is empty. The nearest point of the
    source says at which quantiles a value stands; equal points stand at theirs together, so their order says nothing.
    """
    (points, weight), (others, others_weight) = source, target
    weight, others_weight = (w / w.sum().clamp(min=TINY) for w in (weight, others_weight))
    distance = (values[:, None] - points).abs().masked_fill(weight == 0, math.inf)  # [B, S]
    nearest = points[distance.argmin(-1)][:, None]
    start, end = ((weight * below).sum(-1, keepdim=True) for below in (points < nearest, points <= nearest))
    others, order = others.sort()
    ends = others_weight[order].cumsum(0)
    starts = ends - others_weight[order]
    overlap = (torch.minimum(end, ends) - torch.maximum(start, starts)).clamp(min=0)  # [B, S]
    return others, overlap / overlap.sum(-1, keepdim=True).clamp(min=TINY)


class Ranked(Objective):
    """Abstract: what both losses share."""

    scope: ClassVar[Literal["row", "step"]] = "step"
    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="ours", gt=0)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")


class AOT(Ranked):
    """AOT from pairs: the policy's margins should exceed the reference's, quantile by quantile.

    Loss     mean over ranks i of  -log sigmoid( beta * (u_(i) - v_(i)) ),  u = log pi(chosen|x) - log pi(rejected|x),
             v the same of pi_ref, each sorted over the step
    """

    kind: ClassVar[str] = "aot"
    invariances: ClassVar = frozenset({"prompt_shift"})

    def __call__(self, candidates: Candidates) -> Tensor:
        step = candidates.step
        assert step is not None  # `scope` has asked for it
        u, ranked, reference = (t[:, 0] - t[:, 1] for t in (candidates.policy.total, step.policy, step.reference()))
        v, shares = coupled(u.detach(), (ranked, step.shares), (reference, step.shares))
        return (shares * -logsigmoid(self.beta * (u[:, None] - v))).sum(-1)

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


class AOTUnpaired(Ranked):
    """AOT from single answers: good answers' rewards should exceed those of bad ones, quantile by quantile.

    Loss     mean over quantiles q of  -log sigmoid( beta * (r_good(q) - r_bad(q)) ),  r = log pi - log pi_ref of an
             answer, each side sorted over the step;  half stands at each side, whose answers move only themselves
    """

    kind: ClassVar[str] = "aot_unpaired"
    candidates: ClassVar[tuple[int, int | None]] = (1, 1)
    columns: ClassVar[tuple[str, ...]] = ("label",)

    def __call__(self, candidates: Candidates) -> Tensor:
        step, label = candidates.step, candidates.columns["label"]
        assert step is not None  # `scope` has asked for it
        r, ratios = candidates.log_ratio("initial")[:, 0], step.log_ratio["initial"][:, 0]
        good, bad = ((ratios, step.shares * side) for side in (step.columns["label"], 1 - step.columns["label"]))
        worse, below = coupled(r.detach(), good, bad)
        better, above = coupled(r.detach(), bad, good)
        of_good = (below * -logsigmoid(self.beta * (r[:, None] - worse))).sum(-1)
        of_bad = (above * -logsigmoid(self.beta * (better - r[:, None]))).sum(-1)
        return torch.where(label > 0, of_good, of_bad) * self.scale(candidates)

    def scale(self, candidates: Candidates) -> Tensor:
        """[B] so that each label's answers are half of the loss, however many they are; 0 where one label is alone."""
        step, label = candidates.step, candidates.columns["label"]
        assert step is not None
        good, bad = ((step.shares * side).sum() for side in (step.columns["label"], 1 - step.columns["label"]))
        return 0.5 * (good * bad > 0) / torch.where(label > 0, good, bad).clamp(min=TINY)

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return math.log(2) * self.scale(candidates)


def _recipe(objective: Objective, learning_rate: float) -> Recipe:
    update = AdamW(learning_rate=learning_rate, warmup_share=0.1)
    return Recipe(method=objective.kind, objective=objective, references={"initial": Cached()}, update=update)


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """AOT from pairs; `settings` are those of `AOT`."""
    return _recipe(AOT(**settings), learning_rate)


def unpaired_recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """AOT from single answers; `settings` are those of `AOTUnpaired`."""
    return _recipe(AOTUnpaired(**settings), learning_rate)
