"""Slerp: on the arc between two models instead of the line, so that the norm does not shrink on the way.

Paper    Shoemake 1985, Animating rotation with quaternion curves; as merging tools use it
Formula  theta = sin((1-t) a) / sin(a) * theta_1 + sin(t a) / sin(a) * theta_2,  a the angle between them
Differs  in that it is taken tensor by tensor, whatever its shape, and is linear where the angle's sine is below 1e-6.
         Two models that were fine-tuned from one are nearly parallel: there slerp is nearly linear.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from .. import weights
from ..settings import setting
from ..weights.merge import TensorMerge

if TYPE_CHECKING:
    from torch import Tensor

    from ..weights.slices import NamedTensor


class Slerp(TensorMerge):
    """Spherical interpolation of two models."""

    kind: ClassVar[str] = "slerp"
    models: ClassVar[tuple[int, int | None]] = (2, 2)

    t: float = setting(0.5, "how far from the first model to the second", source="ours", ge=0, le=1)

    def __call__(self, tensor: "NamedTensor") -> "Iterator[Tensor]":
        dot = first = second = 0.0
        for part in tensor.slices():
            a, b = (model.double() for model in part.models)
            dot, first, second = dot + float(a @ b), first + float(a @ a), second + float(b @ b)
        shares = weights.slerp_weights(dot, (first, second), self.t)
        for part in tensor.slices():
            yield weights.linear(part.models, shares)
