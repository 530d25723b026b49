"""Which sign an entry takes where several task vectors disagree. Pure: tensors of one shape in, one out."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Vote = Literal["magnitude", "count"]


def elect_sign(vectors: Sequence[Tensor], weights: Sequence[float], vote: Vote = "magnitude") -> Tensor:
    """The sign, 1 or -1, that the vectors elect for each entry. Zeros abstain; a tie is plus.

    A vector votes with its entry times its weight, or by `count` with its weight alone.

    >>> elect_sign([torch.tensor([1.0, -3.0, 0.0]), torch.tensor([-1.0, 2.0, -1.0])], [1.0, 1.0])
    tensor([ 1., -1., -1.])
    """
    total = torch.zeros_like(vectors[0])
    for vector, weight in zip(vectors, weights, strict=True):
        total.add_(vector.sign() if vote == "count" else vector, alpha=weight)
    return torch.ones_like(total).copysign_(total)  # a sum that began at +0 is never -0


def agreed_mean(vectors: Sequence[Tensor], weights: Sequence[float], sign: Tensor) -> Tensor:
    """The mean, by weight, over the vectors whose entry has the elected sign; 0 where none has. Weights are above 0.

    >>> agreed_mean([torch.tensor([1.0, 2.0]), torch.tensor([3.0, -4.0])], [1.0, 1.0], torch.tensor([1.0, -1.0]))
    tensor([ 2., -4.])
    """
    total, voters, agreeing = torch.zeros_like(sign), torch.zeros_like(sign), torch.empty_like(sign)
    for vector, weight in zip(vectors, weights, strict=True):
        torch.mul(vector, sign, out=agreeing).relu_()  # its magnitude where it has the elected sign, else 0
        total.add_(agreeing, alpha=weight)
        voters.add_(agreeing.sign_(), alpha=weight)
    return total.div_(voters.clamp_(min=min(weights))).mul_(sign)  # without a voter the total is 0
