"""Adding in float32 what is smaller than the distance to the next number: rounded by chance, so that it arrives."""

from functools import cache

import torch
from torch import Tensor

EXPONENT = 0x7F800000  # the bits of a float32 that say between which powers of two it lies


def add(weights: Tensor, by: Tensor, noise: Tensor, nearly_zero: Tensor) -> Tensor:
    """weights += by, rounded by chance: the noise is as wide as the step to the next number on its side.

    Where `by` is 0 nothing moves. Writes to `by`.
    """
    # Below a power of two numbers lie closer than above it: where the noise points to 0, the exponent is that of the
    # number before. The product's sign bit, shifted, says so, as -1. Comparing would take several times as long.
    inward = torch.addcmul(nearly_zero, weights, noise).view(torch.int32).bitwise_right_shift_(31)
    step = inward.add_(weights.view(torch.int32)).bitwise_and_(EXPONENT).view(torch.float32)
    return weights.add_(by.addcmul_(step, noise, value=2.0**-23))


@cache
def nearly_zero(device: torch.device) -> Tensor:
    """Added to a weight, so that one of 0 has no inner side."""
    return torch.tensor(torch.finfo(torch.float32).tiny, device=device)
