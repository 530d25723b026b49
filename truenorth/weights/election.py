"""Which sign an entry takes where several task vectors disagree. Pure: tensors of one shape in, one out."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Vote = Literal["magnitude", "count"]


def elect_sign(vectors: Sequence[Tensor], weights: Sequence[float], vote: Vote = "magnitude") -> Tensor:
    """Whether each entry's elected sign is plus. Zeros abstain; a tie is plus.

    A vector votes with its entry times its weight, or by `count` with its weight alone.

    >>> elect_sign([torch.tensor([1.0, -3.0, 0.0]), torch.tensor([-1.0, 2.0, -1.0])], [1.0, 1.0])
    tensor([ True, False, False])
    """
    total = torch.zeros_like(vectors[0])
    for vector, weight in zip(vectors, weights, strict=True):
        total.add_(vector.sign() if vote == "count" else vector, alpha=weight)
    return total >= 0


def agreed_mean(vectors: Sequence[Tensor], weights: Sequence[float], plus: Tensor) -> Tensor:
    """The mean, by weight, over the vectors whose entry has the elected sign; 0 where none has.

    >>> agreed_mean([torch.tensor([1.0, 2.0]), torch.tensor([3.0, -4.0])], [1.0, 1.0], torch.tensor([True, False]))
    tensor([ 2., -4.])
    """
    total, voters = torch.zeros_like(vectors[0]), torch.zeros_like(vectors[0])
    for vector, weight in zip(vectors, weights, strict=True):
        agrees = torch.where(plus, vector > 0, vector < 0)
        total.add_(vector * agrees, alpha=weight)
        voters.add_(agrees, alpha=weight)
    return torch.where(voters > 0, total / voters, total)
