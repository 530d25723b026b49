"""ExPO: further from the SFT model, in the direction in which alignment went.

Paper    Zheng et al. 2024, arXiv:2404.16792
Formula  theta = theta_1 + alpha * (theta_1 - theta_0),  theta_1 the aligned model, theta_0 (--base) its SFT model
Differs  in nothing but float32 arithmetic, where the authors' code has bfloat16's. alpha = 0 is the aligned model, -1
         the SFT model, between them their average. The code was read, of the paper the abstract: it chooses alpha on
         held-out prompts with a reward model; 0.3 to 0.5 did for fully trained models, more for those stopped early.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from .. import weights
from ..settings import setting
from ..weights.merge import TensorMerge

if TYPE_CHECKING:
    from torch import Tensor

    from ..weights.slices import NamedTensor


class ExPO(TensorMerge):
    """Extrapolation of one aligned model."""

    kind: ClassVar[str] = "expo"
    models: ClassVar[tuple[int, int | None]] = (1, 1)
    base: ClassVar[str] = "the SFT model that the aligned one was trained from"

    alpha: float = setting(0.3, "how far beyond the aligned model; -1 is the SFT model", source="code")

    def __call__(self, tensor: "NamedTensor") -> "Iterator[Tensor]":
        for part in tensor.slices():
            assert part.base is not None
            yield weights.extrapolate(part.base, part.models[0], self.alpha)
