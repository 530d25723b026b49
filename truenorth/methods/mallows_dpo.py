"""Mallows-DPO: prompts on which people agree count with a larger beta.

Paper    Chen et al. 2024, arXiv:2405.14953 (MallowsPO in later versions)
Read     code, for the theta form
Recipe   ours: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps, beta as in DPO
Differs  perhaps from the paper. The dispersion is the reference's entropy per token as a share of log V, averaged over
         both responses, as in the authors' code; held to [1e-6, 0.999], so that none turns a label round. The factor 2
         is part of `scale`, as there, where 0.29 goes with rewards per token without a reference; 1 / mean(-log
         dispersion) keeps DPO's beta on average. A dispersion of the data is ours.
"""

# pyright: reportIncompatibleVariableOverride=false
import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Reads, Recipe
from ..settings import setting
from ..types import Candidates


class FromDispersion(Objective):
    """Abstract: what the two forms share."""

    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="paper", gt=0)
    scale: float = setting(0.29, "of -log dispersion; 1 over its mean keeps beta", source="code", gt=0)
    dispersion: Literal["reference", "data"] = setting(
        "reference", "of the reference's entropies, or the data's column `dispersion` in (0, 1)", source="paper"
    )

    @property
    def reads(self) -> frozenset[Reads]:
        return frozenset({"reference_entropy"} if self.dispersion == "reference" else ())

    @property
    def columns(self) -> tuple[str, ...]:
        return ("dispersion",) if self.dispersion == "data" else ()

    def agreement(self, candidates: Candidates) -> Tensor:
        """[B] -2 log phi: how much more than in a coin the better response wins by. 1 is as in DPO."""
        if self.dispersion == "data":
            dispersion = candidates.columns["dispersion"]
        else:
            entropy, length = candidates.references["initial"].entropy, candidates.policy.length
            assert entropy is not None  # `reads` has asked for it
            dispersion = (entropy / length).mean(1)
        return -self.scale * dispersion.clamp(1e-6, 0.999).log()

    def margin(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return chosen - rejected

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")


class MallowsDPO(FromDispersion):
    """Mallows-DPO, its theta form: DPO with a beta of each prompt's own.

    Loss     -log sigmoid( -2 log(phi) * m ),  m = beta * (r_chosen - r_rejected),
             r = log pi(y|x) - log pi_ref(y|x),  -2 log(phi) = -scale * log(dispersion)
    """

    kind: ClassVar[str] = "mallows_dpo"

    def __call__(self, candidates: Candidates) -> Tensor:
        return -logsigmoid(self.agreement(candidates) * self.margin(candidates))

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


class MallowsPhiDPO(FromDispersion):
    """Mallows-DPO, its phi form: the margin is a distance of ranks, and rankings differ by Kendall's count of swaps.

    Read     reconstructed: checked by counting permutations
    Loss     -log g(m),  g(m) = (m + 1) / (1 - phi^(m + 1)) - m / (1 - phi^m) for m >= 0,  1 - g(-m) for m < 0,
             m = beta * (r_chosen - r_rejected),  r = log pi(y|x) - log pi_ref(y|x),
             -2 log(phi) = -scale * log(dispersion)
    """

    kind: ClassVar[str] = "mallows_phi_dpo"

    def __call__(self, candidates: Candidates) -> Tensor:
        margin, log_phi = self.margin(candidates), -self.agreement(candidates) / 2
        log_against = log_upset(torch.where(margin >= 0, margin, -margin), log_phi)  # abs() has no slope at the start
        return torch.where(margin >= 0, -torch.log1p(-log_against.exp()), -log_against)

    def initial_loss(self, candidates: Candidates) -> Tensor:
        log_phi = -self.agreement(candidates) / 2
        return -torch.log1p(-log_upset(torch.zeros_like(log_phi), log_phi).exp())


def log_upset(distance: Tensor, log_phi: Tensor) -> Tensor:
    """log(1 - g(distance)): that the response ranked behind by `distance` >= 0 wins. [B], [B] nats -> [B] nats."""
    dtype, log_phi = distance.dtype, log_phi.double()  # in float32 the slope at the start is noise: 1e6 - 1e6
    distance = distance.double() + 1e-6  # at 0 the first share would be 0 / 0
    first = distance / -torch.expm1(distance * log_phi)
    second = (distance + 1) * log_phi.exp() / -torch.expm1((distance + 1) * log_phi)
    return (distance * log_phi + (first - second).log()).to(dtype)


def _recipe(objective: FromDispersion, rate: float) -> Recipe:
    update = AdamW(learning_rate=rate, warmup_share=0.1, decay="cosine")
    return Recipe(method=objective.kind, objective=objective, references={"initial": Cached()}, update=update)


def recipe(*, learning_rate: float = 5e-7, **settings: Any) -> Recipe:
    """Mallows-DPO in its theta form; `settings` are those of `MallowsDPO`."""
    return _recipe(MallowsDPO(**settings), learning_rate)


def phi_recipe(*, learning_rate: float = 5e-7, **settings: Any) -> Recipe:
    """Mallows-DPO in its phi form; `settings` are those of `MallowsPhiDPO`."""
    return _recipe(MallowsPhiDPO(**settings), learning_rate)
