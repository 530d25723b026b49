"""Which entries of a tensor are the largest, step after step: exactly, and without a sort.

They are counted from a magnitude near to where they began at the steps before, or in a sample of the tensor.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..weights.sparsify import Cut
from .draws import BLOCK

NEAR, NEAREST = 1.04, 1.003  # factors around a guess within which the least of the largest is sought
STRIDE = 61  # a sample is each 61st entry, which are in turn in all columns of a matrix, unless it has k * 61
SAMPLED = 2**14  # entries from which on a sample says enough

Counted = Callable[[Tensor, float, float], tuple[int, Tensor]]


@dataclass(slots=True)
class Trend:
    """The least of the largest magnitudes, step after step."""

    least: float | None = None  # at the last step
    growth: float = 1.0  # its ratio to that of the step before
    within: float = NEAR  # the factor that is looked around the next guess

    def near(self) -> tuple[float, float] | None:
        """Between which magnitudes it should lie next."""
        guess = (self.least or 0.0) * self.growth
        return (guess / self.within, guess * self.within) if guess else None

    def learn(self, least: float) -> None:
        before, guess, self.least = self.least, (self.least or 0.0) * self.growth, least
        self.growth = min(max(least / before, 0.8), 1.25) if before else 1.0
        off = abs(least / guess - 1) if guess else NEAR
        self.within = min(max(1 + 4 * off, NEAREST), NEAR)


class Largest:
    """The largest entries of a tensor that changes little from step to step.

    What it remembers of earlier steps makes it faster. What it finds does not depend on it.
    """

    def __init__(self, counted: Counted | None = None) -> None:
        """`counted`: does what `between` does, which it is where nothing is given."""
        self.trend, self.counted = Trend(), counted or between

    def cut(self, values: Tensor, count: int) -> Cut:
        """Where the `count` largest magnitudes of `values` [n] begin."""
        wanted, near = count, values
        for low, high in self._brackets(values, count):
            above, near = self.counted(values, low, high)
            if 0 < (wanted := count - above) <= near.numel():
                break
        least = self._found(near, wanted)
        ties = wanted - int((near > least).sum())
        return cut_at(float(least), ties=ties, equal=int((near == least).sum()))

    def places(self, values: Tensor, count: int) -> Tensor:
        """[count] int64: where the `count` largest magnitudes of `values` [n] lie. Fast where they are few."""
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
        """Magnitudes between which the least of the largest should lie: the best guess first, the last one is sure."""
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
        if sizes.is_cpu:  # several times faster than torch
            place = sizes.numel() - wanted
            least = torch.from_numpy(np.partition(sizes.numpy(), place))[place]
        else:
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
    above, between, spare = 0, list[Tensor](), _scratch(get_ident())
    for piece in values.split(BLOCK):
        sizes, over, near = (kept[: len(piece)] for kept in spare)  # numpy compares several times faster than torch
        np.greater(np.abs(piece.numpy(), out=sizes), high, out=over)
        np.not_equal(np.greater_equal(sizes, low, out=near), over, out=near)
        above += int(np.count_nonzero(over))
        between.append(torch.from_numpy(sizes.take(np.flatnonzero(near))))
    return above, torch.cat(between)


@cache
def _scratch(_: int) -> tuple[Any, Any, Any]:
    """Memory of a thread for a block's magnitudes and two masks: what is new takes longer to touch than to compute."""
    return np.empty(BLOCK, np.float32), np.empty(BLOCK, np.bool_), np.empty(BLOCK, np.bool_)


def _from(values: Tensor, low: float) -> Tensor:
    """Where magnitudes are `low` or larger, in order."""
    if values.device.type != "cpu":
        return (values.abs() >= low).nonzero().flatten()
    found, spare = list[Any](), _scratch(get_ident())
    for number, piece in enumerate(values.split(BLOCK)):
        sizes, _, near = (kept[: len(piece)] for kept in spare)
        np.greater_equal(np.abs(piece.numpy(), out=sizes), low, out=near)
        found.append(np.flatnonzero(near) + number * BLOCK)
    return torch.from_numpy(np.concatenate(found))
