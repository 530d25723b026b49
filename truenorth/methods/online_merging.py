"""Online merging optimizers: each step is merged with what SFT taught.

Paper    Lu et al. 2024, arXiv:2405.17931
Read     paper, code
Recipe   code: DPO at beta 0.1 with AdamW, learning rate 1e-6 after 100 steps of warm-up, cosine; the paper searches it
Differs  in rounding: the released optimizers add alpha * tau to the weights, which float32 loses at 9 of 10 entries;
         here the sum is rounded by chance, so that it arrives. The inner AdamW is torch's, with bias correction
         (Algorithm 1 has none, the code another place for epsilon), and weight decay comes before the move. Left out:
         restoring an L1 norm, and clamping at 1. A tensor with few entries is thinned out as any other, at least one
         is kept. Steps between merges reach every parameter. Draws are of the run's seed, so that replicas agree.
         OnDARE's `keep` is ours, by docs/claims.md; alpha * steps / every task vectors are added in a run.
"""

from typing import ClassVar, Literal, Self

from torch import Tensor

from ..models.references import Cached
from ..optim.rule import Rule
from ..optim.update import AdamW, Update
from ..recipe import Recipe
from ..settings import setting
from .dpo import DPO


class OnDARE(Rule):
    """OnDARE: random entries of each step and of the task vector.

    Loss     any, DPO's here;  theta <- theta + (1 - alpha) F(delta) + alpha F(tau),  tau = theta_SFT - theta_base,
             delta AdamW's step, F keeps an entry with probability `keep`
    """

    kind: ClassVar[str] = "ondare"
    selection: ClassVar = "drawn"

    keep: float = setting(0.1, "share of entries that is kept, the paper's reserve rate", source="ours", gt=0, le=1)
    rescale: Literal["none", "inverse"] = setting("inverse", "divide what is kept by `keep`, or not", source="code")
    task_mask: Literal["fixed", "fresh"] = setting("fixed", "task vector's draw: for a run or a merge", source="code")

    @classmethod
    def as_written(cls, base: str | None = None) -> Self:
        """The paper's: nothing is rescaled, every merge draws anew."""
        return cls(base=base, rescale="none", task_mask="fresh")

    @classmethod
    def as_released(cls, base: str | None = None) -> Self:
        """The authors' code's, and the default but for `keep`."""
        return cls(base=base, keep=0.01, rescale="inverse", task_mask="fixed")

    @property
    def shares(self) -> tuple[float, float]:
        scale = 1.0 if self.rescale == "none" else 1 / self.keep
        return (1 - self.alpha) * scale, self.alpha * scale

    @property
    def fresh(self) -> bool:
        return self.task_mask == "fresh"

    @property
    def idle(self) -> bool:
        return self.alpha == 0 and self.keep == 1

    def combined(self, update: Tensor, task: Tensor) -> Tensor:
        of_update, of_task = self.shares
        return update.mul_(of_update).add_(task, alpha=of_task)


class OnTIES(Rule):
    """OnTIES: the largest entries of each step and of the task vector, where they agree on a sign.

    Loss     any, DPO's here;  theta <- theta + (1 - alpha) F(delta) + alpha F(tau), each where its sign is the elected
             one, that of  (1 - alpha) F(delta) + alpha F(tau)  or, unweighted, of  F(delta) + F(tau);  a tie is plus
             (the paper has both cancel out);  F keeps the largest magnitudes, the share `keep` of a tensor
    """

    kind: ClassVar[str] = "onties"
    selection: ClassVar = "largest"

    vote: Literal["weighted", "unweighted"] = setting("unweighted", "with alpha or without (Eq. 7)", source="code")

    @classmethod
    def as_written(cls, base: str | None = None) -> Self:
        """The paper's: the vote is weighted, so that a step of any size outvotes the task vector's pull."""
        return cls(base=base, vote="weighted")

    @classmethod
    def as_released(cls, base: str | None = None) -> Self:
        """The authors' code's, and the default: the task vector, far larger than a step, has the say."""
        return cls(base=base, vote="unweighted")

    @property
    def votes(self) -> tuple[float, float]:
        return self.shares if self.vote == "weighted" else (1.0, 1.0)

    @property
    def idle(self) -> bool:
        return self.alpha == 0 and self.keep == 1 and self.vote == "weighted"

    def combined(self, update: Tensor, task: Tensor) -> Tensor:
        of_update, of_task = self.shares
        votes = update + task if self.vote == "unweighted" else None
        update, task = update.mul_(of_update), task * of_task
        votes = update + task if votes is None else votes
        plus = votes.ge_(0)  # a float, 1 or 0: torch selects by a bool several times slower
        upward = update.relu().add_(task.relu())
        downward = update.clamp_(max=0).add_(task.clamp_(max=0))
        return downward.lerp_(upward, plus)  # at 1 and 0 just the one or the other


def recipe(*, base: str | None = None, inner: Update | None = None, **settings: float) -> Recipe:
    """DPO with OnDARE around `inner`; `settings` are those of `DPO`. A run refuses it without `base`."""
    return _recipe(OnDARE(base=base), inner, settings)


def ties_recipe(*, base: str | None = None, inner: Update | None = None, **settings: float) -> Recipe:
    """The same with OnTIES."""
    return _recipe(OnTIES(base=base), inner, settings)


def _recipe(rule: OnDARE | OnTIES, inner: Update | None, settings: dict[str, float]) -> Recipe:
    update = AdamW(warmup_steps=100, decay="cosine") if inner is None else inner
    merged, objective = update.replace(merging=rule), DPO(**settings)
    return Recipe(method=rule.kind, objective=objective, references={"initial": Cached()}, update=merged)
