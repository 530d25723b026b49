"""Which entries of a tensor are the largest, step after step: exactly, and without a sort.

They are counted from a magnitude near to where they began at the steps before, or in a sample of the tensor.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..weights.sparsify import Cut
from .draws import BLOCK

NEAR = 1.04  # the factor around a guess within which the least of the largest is sought
STRIDE = 61  # a sample is each 61st entry, which are in turn in all columns of a matrix, unless it has k * 61
SAMPLED = 2**14  # entries from which on a sample says enough


@dataclass(slots=True)
class Trend:
    """The least of the largest magnitudes, step after step."""

    least: float | None = None  # at the last step
    growth: float = 1.0  # its ratio to that of the step before

    def near(self) -> tuple[float, float] | None:
        """Between which magnitudes it should lie next."""
        guess = (self.least or 0.0) * self.growth
        return (guess / NEAR, guess * NEAR) if guess else None

    def learn(self, least: float) -> None:
        before, self.least = self.least, least
        self.growth = min(max(least / before, 0.8), 1.25) if before else 1.0


class Largest:
    """The largest entries of a tensor that changes little from step to step. What it remembers changes time alone."""

    def __init__(self) -> None:
        self.trend = Trend()

    def cut(self, values: Tensor, count: int) -> Cut:
        """Where the `count` largest magnitudes of `values` [n] begin."""
        wanted, near = count, values
        for low, high in self._brackets(values, count):
            above, near = between(values, low, high)
            if 0 < (wanted := count - above) <= near.numel():
                break
        least = self._found(near, wanted)
        ties = wanted - int((near > least).sum())
        return cut_at(float(least), ties=ties, equal=int((near == least).sum()))

    def places(self, values: Tensor, count: int) -> Tensor:
        """[count] int64: where they lie. For few entries."""
        found = torch.empty(0, dtype=torch.int64)
        for low, _ in self._brackets(values, count):
            found = _from(values, low)
            if found.numel() >= count:
                break
        sizes = values.index_select(0, found).abs_()
        least = self._found(sizes, count)
        larger, tied = sizes > least, sizes == least
        first_tied = tied.logical_and_(tied.cumsum(0) <= count - larger.sum())
        return found[larger.logical_or_(first_tied)]

    def _brackets(self, values: Tensor, count: int) -> Iterator[tuple[float, float]]:
        """Magnitudes between which the least of the largest lies, for all that is known; of the last it is sure."""
        if values.numel() > SAMPLED:
            if (near := self.trend.near()) is not None:
                yield near
            sample = values[::STRIDE].abs().sort(descending=True).values
            rank = count / values.numel() * len(sample)
            apart = 4 * math.sqrt(rank) + 1
            first, last = max(0, int(rank - apart)), min(len(sample) - 1, math.ceil(rank + apart))
            yield float(sample[last]), float(sample[first])
        yield 0.0, math.inf

    def _found(self, sizes: Tensor, wanted: int) -> Tensor:
        least = sizes.kthvalue(sizes.numel() - wanted + 1).values
        self.trend.learn(float(least))
        return least


def cut_at(least: float, *, ties: int, equal: int) -> Cut:
    """Where the largest begin, of whose least magnitude there are `equal` entries, `ties` of them to be kept."""
    if ties < equal:
        return Cut(least, ties)
    below = torch.tensor(least)
    return Cut(float(torch.nextafter(below, -below)), 0)  # just below, so that no ties need be counted


def between(values: Tensor, low: float, high: float) -> tuple[int, Tensor]:
    """How many magnitudes lie above `high`, and those from `low` to `high`, in order."""
    if values.device.type != "cpu":
        sizes = values.abs()
        return int((sizes > high).sum()), sizes[(sizes >= low).logical_and_(sizes <= high)]
    above, between = 0, list[Tensor]()
    for piece in values.split(BLOCK):
        sizes = np.abs(piece.numpy())  # numpy compares several times faster than torch
        over, near = sizes > high, sizes >= low
        above += int(np.count_nonzero(over))
        between.append(torch.from_numpy(sizes.take(np.flatnonzero(near ^ over))))
    return above, torch.cat(between)


def _from(values: Tensor, low: float) -> Tensor:
    """Where magnitudes are `low` or larger, in order."""
    if values.device.type != "cpu":
        return (values.abs() >= low).nonzero().flatten()
    pieces = enumerate(values.split(BLOCK))
    found = [np.flatnonzero(np.abs(piece.numpy()) >= low) + number * BLOCK for number, piece in pieces]
    return torch.from_numpy(np.concatenate(found))
