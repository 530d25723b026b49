"""Online Fast-Slow chasing DPO: two adapters on one frozen base, learning at two speeds, each against the other.

Paper    Qi et al. 2024, arXiv:2406.05534
Read     others
Loss     fast:  inner + alpha * L_FS,   slow:  inner - alpha * L_FS,   L_FS = -log sigmoid( m_fast - m_slow ),
         m = margin of the inner loss's implicit rewards (DPO: beta * (r_chosen - r_rejected)), in L_FS within +-clamp;
         each module holds the other's margin constant
Recipe   ours: AdamW, learning rate 1e-5, cosine, LoRA; two speeds and roles by the interval rule (`chase`)
Differs  in what we could not read, the paper itself. Losses and signs are second-hand, from an independent code whose
         comments number its equations; it clamps all margins at +-10, ours those of L_FS alone. Speeds, interval and
         the deployed module are ours. Another account of the paper lets both modules close the gap.
"""

# pyright: reportIncompatibleVariableOverride=false
# References, reads and invariances are of the class for other objectives; here they are the inner one's.

import math
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, PositiveFloat, SerializeAsAny, model_validator
from torch import Tensor

from ..chase import Chase
from ..contrasts import soft_pair
from ..errors import SettingsError
from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import PEER, Objective, Reads, Recipe
from ..settings import setting
from ..types import Candidates
from .dpo import DPO
from .saved import objective_of


def _inner(value: Any) -> Any:
    """A mapping without `kind` changes settings of DPO."""
    return objective_of({"kind": "dpo", **value}) if isinstance(value, dict) else value


class FastSlow(Objective):
    """Abstract: an inner loss and, with a role's sign, what ties a module to its peer."""

    sign: ClassVar[int]
    candidates: ClassVar[tuple[int, int]] = (2, 2)

    inner: Annotated[SerializeAsAny[Objective], BeforeValidator(_inner)] = setting(
        DPO(), "loss of pairs in DPO's place, with its `kind`", source="paper"
    )
    alpha: float = setting(0.1, "weight of L_FS; 0: two runs that know nothing of each other", source="ours", ge=0)
    clamp: PositiveFloat | None = setting(
        10.0, "largest margin in L_FS, which has no gradient in a margin beyond it; none: no limit", source="ours"
    )

    @model_validator(mode="after")
    def _inner_is_of_pairs(self) -> "FastSlow":
        inner, (fewest, most) = self.inner, self.inner.candidates
        pairs = fewest <= 2 and (most is None or most >= 2) and not inner.demonstrations
        heads = inner.score_head is not None or inner.degree_head is not None
        if not pairs or heads or inner.scope == "step" or "token_kl" in inner.reads or inner.slow is not None:
            raise SettingsError(
                f"inner: {inner.name} is no loss of one pair's log-probs, which have the margin that a fast and a "
                "slow module compare. Take dpo, ipo, rpo, simpo, slic or another of that form."
            )
        return self

    @property
    def references(self) -> tuple[str, ...]:
        return (*self.inner.references, PEER)

    @property
    def reads(self) -> frozenset[Reads]:
        return self.inner.reads

    @property
    def columns(self) -> tuple[str, ...]:
        return self.inner.columns

    @property
    def invariances(self) -> frozenset[Any]:
        return self.inner.invariances

    def __call__(self, candidates: Candidates) -> Tensor:
        peer = replace(candidates, policy=candidates.references[PEER])  # which carries no gradient
        lead = self.sign * (self._margin(candidates) - self._margin(peer))  # m_fast - m_slow, in either role
        return self.inner(candidates) + self.sign * self.alpha * soft_pair(lead, 1.0)

    def _margin(self, candidates: Candidates) -> Tensor:
        """[B] of the implicit rewards, within +-clamp. A row beyond it is pulled by the inner loss alone."""
        chosen, rejected = self.inner.implicit_rewards(candidates).unbind(-1)
        return chosen - rejected if self.clamp is None else (chosen - rejected).clamp(-self.clamp, self.clamp)

    @property
    def slow(self) -> "FastSlow":
        role = OFSDPOSlow if self.sign == 1 else OFSDPO
        return role(inner=self.inner, alpha=self.alpha, clamp=self.clamp)

    def base_loss(self, candidates: Candidates) -> Tensor:
        return self.inner(candidates)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.inner.implicit_rewards(candidates)

    def initial_loss(self, candidates: Candidates) -> Tensor | None:
        inner = self.inner.initial_loss(candidates)
        return None if inner is None else inner + self.sign * self.alpha * math.log(2)


class OFSDPO(FastSlow):
    """The fast module's loss: it widens its lead."""

    kind: ClassVar[str] = "ofs_dpo"
    sign: ClassVar[int] = 1


class OFSDPOSlow(FastSlow):
    """The slow module's loss: it closes the gap. Without `clamp` it is unbounded below."""

    sign: ClassVar[int] = -1


def recipe(*, learning_rate: float = 1e-5, **settings: Any) -> Recipe:
    """OFS-DPO; `settings` are those of `OFSDPO`."""
    objective = OFSDPO(**settings)
    return Recipe(
        method="ofs_dpo",
        objective=objective,
        references={name: Cached() for name in objective.inner.references},
        update=AdamW(learning_rate=learning_rate, decay="cosine"),
        chase=Chase(),
    )
