"""Heterogeneous Model Averaging: SFT and aligned model averaged, with a share for each block of layers.

Paper    Lin et al. 2023, arXiv:2309.06256
Formula  block k:  theta = a_k theta_0 + (1 - a_k) theta_1,  a_k = alpha * ratio_k / mean_j(ratio_j),
         theta_0 (--base) the SFT model, theta_1 the aligned one; outside of the layers a = alpha
Differs  in how the ratios are found. The code trains sigmoids by the likelihood of answers of high reward, an epoch
         of small steps with a pull towards equal shares; truenorth/fitting.py goes uphill on the same likelihood of
         all answers at once, between 0 and 1 with the mean held, and takes no step that does not raise it. The paper
         maximises reward itself: how was not read, and the search there is ours. Without either they are as given.
         alpha is the share of the SFT model, as in the code and its README; the paper's text has it on the aligned
         one. Blocks are as equal as may be (26 layers: cuts at 9 and 18; the code: 8 and 16). The code averages
         linear layers only and leaves the rest as in the SFT model; ours averages all, so that equal ratios are
         averaging.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from .. import weights
from ..errors import SettingsError
from ..settings import setting
from ..weights.merge import TensorMerge, block_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..weights.slices import NamedTensor

ROUNDING = 1e-8  # by which a share that is 1 may come out larger


class HMA(TensorMerge):
    """An average with a share of its own for each block of layers."""

    kind: ClassVar[str] = "hma"
    models: ClassVar[tuple[int, int | None]] = (1, 1)
    base: ClassVar[str] = "the SFT model that the aligned one was trained from"

    alpha: float = setting(0.2, "share of the SFT model, the mean over blocks", source="code", ge=0, le=1)
    ratios: tuple[Annotated[float, Field(ge=0)], ...] = setting(
        (1.0, 1.0, 1.0),
        "of the SFT model's shares of the blocks, lowest layers first; their scale is free",
        source="ours",
    )

    @model_validator(mode="after")
    def _shares(self) -> "HMA":
        if not self.ratios or not sum(self.ratios) > 0:
            raise SettingsError(f"HMA's ratios must be one for each block, not all 0, got {list(self.ratios)}.")
        if max(self.shares) > 1 + ROUNDING:
            raise SettingsError(
                f"HMA's alpha {self.alpha} and ratios {list(self.ratios)} give the shares "
                f"{[round(share, 4) for share in self.shares]}, none of which may exceed 1. Lower alpha or the ratio."
            )
        return self

    @property
    def shares(self) -> list[float]:
        """The SFT model's share of each block, lowest layers first; their mean is alpha."""
        return [self.alpha * ratio * len(self.ratios) / sum(self.ratios) for ratio in self.ratios]

    def __call__(self, tensor: "NamedTensor") -> "Iterator[Tensor]":
        share = self.alpha
        if tensor.layer is not None:
            share = min(1.0, self.shares[block_of(*tensor.layer, len(self.ratios))])
        for part in tensor.slices():
            assert part.base is not None
            yield weights.average([part.base, part.models[0]], [share, 1 - share])
