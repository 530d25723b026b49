"""Uniform soup: the plain mean of models that were fine-tuned from one, with other seeds, orders or settings.

Paper    Wortsman et al. 2022, arXiv:2203.05482; of two SFT models the reference of SALSA, arXiv:2411.01798
Formula  theta = 1/n sum_i theta_i
Differs  in that the greedy soup, which adds a model only where that helps on held-out data, is not here. The papers
         were not read; the mean is from their abstracts.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from .. import weights
from ..weights.merge import TensorMerge

if TYPE_CHECKING:
    from torch import Tensor

    from ..weights.slices import NamedTensor


class Soup(TensorMerge):
    """The mean with equal weights."""

    kind: ClassVar[str] = "soup"

    def __call__(self, tensor: "NamedTensor") -> "Iterator[Tensor]":
        for part in tensor.slices():
            yield weights.average(part.models, [1.0] * len(part.models))
