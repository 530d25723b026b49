"""Sums of weights: averages, extrapolations, task vectors. Pure: tensors of one shape in, one of that shape out."""

import math
from collections.abc import Sequence

from torch import Tensor


def linear(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """sum_i weights[i] * tensors[i]; the weights are taken as they are.

    >>> import torch
    >>> linear([torch.tensor([1.0]), torch.tensor([10.0])], [2.0, -1.0])
    tensor([-8.])
    """
    total = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total.add_(tensor, alpha=weight)
    return total


def average(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The mean, weighted by `weights`, which are not negative and not all 0; their sum does not matter.

    Equal tensors give themselves, and a weight that is alone gives its tensor, to the bit.

    >>> import torch
    >>> average([torch.tensor([1.0]), torch.tensor([4.0])], [2.0, 1.0])
    tensor([2.])
    """
    mean, total = tensors[0], weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total += weight
        mean = mean.lerp(tensor, weight / total) if weight else mean
    return mean


def extrapolate(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    """end + alpha * (end - start): `end` at 0 and `start` at -1, to the bit; between them the average.

    >>> import torch
    >>> extrapolate(torch.tensor([1.0]), torch.tensor([3.0]), 0.5)
    tensor([4.])
    """
    return start.lerp(end, 1 + alpha)


def task_vector(model: Tensor, base: Tensor) -> Tensor:
    """What fine-tuning added: model - base."""
    return model - base


def add_vector(base: Tensor, vector: Tensor, scale: float = 1.0) -> Tensor:
    """base + scale * vector."""
    return base.add(vector, alpha=scale)


def slerp_weights(dot: float, squares: tuple[float, float], t: float) -> tuple[float, float]:
    """The weights of two tensors for spherical interpolation, t of the way from the first to the second.

    `dot` is their inner product, `squares` those with themselves. Parallel ones, and zeros, are mixed linearly.

    >>> slerp_weights(0.0, (1.0, 1.0), 0.5)
    (0.7071067811865475, 0.7071067811865475)
    """
    norms = math.sqrt(squares[0] * squares[1])
    cosine = max(-1.0, min(1.0, dot / norms)) if norms > 0 else 1.0
    angle = math.acos(cosine)
    if math.sin(angle) < 1e-6:  # and where they point apart, no way round the sphere is the shortest
        return 1 - t, t
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
