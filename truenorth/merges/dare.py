"""DARE: drop random entries of each task vector and rescale the rest, then sum them (linear) or elect signs (TIES).

Paper    Yu et al. 2023, arXiv:2311.03099
Formula  d_i = mask_i * tau_i / keep,  mask_i ~ Bernoulli(keep),  tau_i = theta_i - base
         linear:  theta = base + scale * sum_i w_i d_i;   TIES:  theta = base + scale * mean_{i: sign(d_i) = s} d_i
Differs  in `keep`, the share that stays; the paper names the one that is dropped, 90 % by what others say of it.
         After DARE our TIES trims nothing further, the authors' code does. Masks depend on seed, tensor and model
         alone, not on the order of files. The code was read, the paper was not.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from .. import weights
from ..settings import setting
from ..weights.merge import VectorMerge
from .ties import Positive, agreed

if TYPE_CHECKING:
    from torch import Tensor

    from ..weights.slices import NamedTensor


class Dropped(VectorMerge):
    """Abstract: task vectors of which random entries are dropped."""

    keep: float = setting(0.1, "probability that an entry of a task vector stays", source="paper", gt=0, le=1)
    scale: float = setting(1.0, "of the merged task vector", source="ours")
    rescale: bool = setting(True, "divide what stays by keep, so that the mean over masks is tau", source="paper")
    seed: int = setting(0, "of the masks", source="ours", ge=0)

    def dropped(self, tensor: "NamedTensor") -> "Iterator[tuple[Tensor, list[Tensor]]]":
        """Slice by slice the base, and the task vectors with each entry kept with probability `keep`."""
        draws = [weights.generator(self.seed, tensor.name, model) for model in range(len(tensor.models))]
        for part in tensor.slices():
            assert part.base is not None
            vectors = zip(part.task_vectors, draws, strict=True)
            yield part.base, [weights.keep_random(tau, self.keep, draw, rescale=self.rescale) for tau, draw in vectors]


class DARELinear(Dropped):
    """DARE: a sum of task vectors, random entries dropped and the rest rescaled.

    Formula  theta = base + scale * sum_i w_i mask_i * tau_i / keep,  mask_i ~ Bernoulli(keep),  tau_i = theta_i - base
    """

    kind: ClassVar[str] = "dare_linear"

    weights: tuple[float, ...] | None = setting(None, "one for each model; none: 1 for all", source="ours")

    def __call__(self, tensor: "NamedTensor") -> "Iterator[Tensor]":
        shares = self.weights or [1.0] * len(tensor.models)
        for base, vectors in self.dropped(tensor):
            yield weights.add_vector(base, weights.linear(vectors, shares), self.scale)


class DARETIES(Dropped):
    """DARE and TIES: task vectors with random entries dropped, averaged where they agree in sign.

    Formula  theta = base + scale * mean_{i: sign(d_i) = s} d_i,  d_i = mask_i * tau_i / keep,
             mask_i ~ Bernoulli(keep),  tau_i = theta_i - base,  s = sign( sum_i w_i d_i )
    """

    kind: ClassVar[str] = "dare_ties"

    vote: Literal["magnitude", "count"] = setting("magnitude", "as for ties", source="ours")
    weights: tuple[Positive, ...] | None = setting(None, "as for ties", source="ours")

    def __call__(self, tensor: "NamedTensor") -> "Iterator[Tensor]":
        shares = self.weights or [1.0] * len(tensor.models)
        for base, vectors in self.dropped(tensor):
            yield weights.add_vector(base, agreed(vectors, shares, self.vote), self.scale)
