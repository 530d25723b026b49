"""TIES: trim each task vector, elect a sign for each entry, and average those that have it.

Paper    Yadav et al. 2023, arXiv:2306.01708
Formula  theta = base + scale * mean_{i: sign(t_i) = s} t_i,  the mean weighted by w_i,
         t_i = the share `keep` of tau_i = theta_i - base with the largest magnitudes,  s = sign( sum_i w_i t_i )
Differs  in trimming each tensor for itself, where the authors' code trims the whole model at one magnitude; an entry
         whose sum is 0 takes plus (theirs: the sign of the sum over all entries). Of `keep` they take one entry more
         than the share, and all ties; ours is exact, the first of equal ones. Weights are ours, 1 is theirs. The code
         was read, the paper was not: its recommendation of keep and scale is known second-hand.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from .. import weights
from ..settings import setting
from ..weights.merge import VectorMerge

if TYPE_CHECKING:
    from torch import Tensor

    from ..weights.slices import NamedTensor

Positive = Annotated[float, Field(gt=0)]


class TIES(VectorMerge):
    """Trimmed task vectors, averaged where they agree."""

    kind: ClassVar[str] = "ties"

    keep: float = setting(0.2, "share of a task vector's entries that stays, the largest", source="paper", gt=0, le=1)
    scale: float = setting(1.0, "of the merged task vector", source="paper")
    vote: Literal["magnitude", "count"] = setting(
        "magnitude", "whether large entries have more say in the sign, or each model the same", source="paper"
    )
    weights: tuple[Positive, ...] | None = setting(
        None, "of each model, in the vote and in the mean; none: equal ones", source="ours"
    )

    def __call__(self, tensor: "NamedTensor") -> "Iterator[Tensor]":
        shares = self.weights or [1.0] * len(tensor.models)
        cuts = weights.cuts(tensor, [weights.count_of(tensor.numel, self.keep)])
        for part in tensor.slices():
            assert part.base is not None
            trimmed = [cut.keep(tau) for tau, (cut,) in zip(part.task_vectors, cuts, strict=True)]
            yield weights.add_vector(part.base, agreed(trimmed, shares, self.vote), self.scale)


def agreed(vectors: "Sequence[Tensor]", shares: Sequence[float], vote: Literal["magnitude", "count"]) -> "Tensor":
    """The mean over the vectors that have the elected sign."""
    return weights.agreed_mean(vectors, shares, weights.elect_sign(vectors, shares, vote))
