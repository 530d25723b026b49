"""Multi-Reference Preference Optimization: DPO against a mixture of several references.

Paper    Le et al. 2024, arXiv:2405.16388; clip is its epsilon
Read     code
Recipe   code: AdamW, learning rate 1e-5, cosine (LoRA, two references); `initial` is the anchor, `second` and any
         further one are models of the user's choice: --set references.second.path=...
Differs  from the authors' code, where each of two references gets the other's weight; ours is the text's reading. For
         more than two, `initial` stays the anchor of all. Clip and weights were read in the code. A later study finds
         DPO with almost any one reference as good: expect little.
"""

import abc
import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from ..contrasts import soft_pair
from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class Mixed(Objective):
    """Abstract: DPO's loss with the log-probs of a mixture, and the mixture's parts and weights."""

    references: ClassVar[tuple[str, ...]] = ("initial", "second")
    further_references: ClassVar[bool] = True
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the references", source="code", gt=0)
    clip: float = setting(
        0.1, "share of its log-prob by which the others may differ from `initial`; 0: only that", source="code", ge=0
    )
    adaptivity: float = setting(
        1.0, "exponent of a reference's gap between both answers, as its weight; 0: equal", source="paper", ge=0
    )

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return soft_pair(chosen - rejected, 1.0)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        anchor = candidates.references["initial"].total
        others = [reference.total for name, reference in candidates.references.items() if name != "initial"]
        totals = torch.stack([anchor, *others])  # [M, B, K], M references
        return self.beta * (candidates.policy.total - self.mixture(self.log_weights(totals), self.clipped(totals)))

    def log_weights(self, totals: Tensor) -> Tensor:
        """[M, B, K] -> [M, B, 1] nats: by how well each reference tells the two answers apart."""
        gap = (totals[..., :1] - totals[..., 1:]).abs().clamp(min=1e-6)
        return log_softmax(self.adaptivity * gap.log(), 0)

    def clipped(self, totals: Tensor) -> Tensor:
        """[M, B, K] within `clip` of the first reference; the likelier answer, whose log-prob is smaller, has less."""
        size = totals.mean(0).abs()
        room = self.clip * size / size.sum(-1, keepdim=True).clamp(min=1e-6)  # [B, K]
        return torch.minimum(torch.maximum(totals, (1 + room) * totals[0]), (1 - room) * totals[0])

    @abc.abstractmethod
    def mixture(self, log_weights: Tensor, totals: Tensor) -> Tensor:
        """[M, B, 1] nats, [M, B, K] nats -> [B, K] nats."""

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


class MRPO(Mixed):
    """MRPO: the references' harmonic mean.

    Loss     -log sigmoid( beta * (r_chosen - r_rejected) ),  r = log pi(y|x) + log sum_k weight_k / pi_k(y|x),
             weight_k ~ |log pi_k(chosen|x) - log pi_k(rejected|x)| ** adaptivity,
             log pi_k clipped to (1 +- clip * s) log pi_initial,  s = the answer's share of both answers' log-probs
    """

    kind: ClassVar[str] = "mrpo"

    def mixture(self, log_weights: Tensor, totals: Tensor) -> Tensor:
        return -(log_weights - totals).logsumexp(0)


class MRPOGeometric(Mixed):
    """MRPO with the references' geometric mean, the exact optimum under a weighted sum of KLs to each. Ours.

    Read     reconstructed: it is not the paper's
    Loss     as mrpo, with  r = log pi(y|x) - sum_k weight_k log pi_k(y|x)
    """

    kind: ClassVar[str] = "mrpo_geometric"

    def mixture(self, log_weights: Tensor, totals: Tensor) -> Tensor:
        return (log_weights.exp() * totals).sum(0)


def _recipe(objective: Objective, learning_rate: float) -> Recipe:
    return Recipe(
        method=objective.kind,
        objective=objective,
        references={"initial": Cached(), "second": Cached()},  # a run refuses two that are the same
        update=AdamW(learning_rate=learning_rate, decay="cosine"),
    )


def recipe(*, learning_rate: float = 1e-5, **settings: float) -> Recipe:
    """MRPO; `settings` are those of `MRPO`."""
    return _recipe(MRPO(**settings), learning_rate)


def geometric_recipe(*, learning_rate: float = 1e-5, **settings: float) -> Recipe:
    """MRPO with the geometric mean; `settings` are those of `MRPOGeometric`."""
    return _recipe(MRPOGeometric(**settings), learning_rate)
