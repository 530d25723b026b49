"""Task arithmetic: what each model learned beyond the base, summed.

Paper    Ilharco et al. 2022, arXiv:2212.04089
Formula  theta = base + scale * sum_i w_i tau_i,  tau_i = theta_i - base
Differs  in the weights w_i, which the paper has at 1 (or -1, to forget), and in the default scale: the paper chooses
         it on held-out data. The paper was not read; its formula is that of the code of its followers.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from .. import weights
from ..settings import setting
from ..weights.merge import VectorMerge

if TYPE_CHECKING:
    from torch import Tensor

    from ..weights.slices import NamedTensor


class TaskArithmetic(VectorMerge):
    """A sum of task vectors on the base."""

    kind: ClassVar[str] = "task_arithmetic"

    scale: float = setting(1.0, "of the sum of task vectors", source="ours")
    weights: tuple[float, ...] | None = setting(
        None, "one for each model, negative to forget; none: 1 for all", source="ours"
    )

    def __call__(self, tensor: "NamedTensor") -> "Iterator[Tensor]":
        shares = self.weights or [1.0] * len(tensor.models)
        for part in tensor.slices():
            assert part.base is not None
            yield weights.add_vector(part.base, weights.linear(part.task_vectors, shares), self.scale)
