"""Where the largest magnitudes begin, from a sample: between which two, and the exact one by a single pass."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

ROOM = 1 << 22  # entries that are collected at most, 16 MB
SURE = 4  # standard deviations of a rank in a sample that is drawn independently


@dataclass(frozen=True, slots=True)
class Least:
    """The least of the largest magnitudes."""

    magnitude: float
    larger: int  # how many entries are
    equal: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Some entries of a tensor of `numel`. How well they stand for the others changes time alone, and no result."""

    sizes: Any  # [n] float32 of numpy, magnitudes in rising order
    numel: int

    @classmethod
    def of(cls, entries: Tensor, numel: int) -> "Sample":
        """`entries` [n] float32, on the CPU."""
        return cls(np.sort(np.abs(entries.numpy())), numel)

    def bracket(self, count: int) -> tuple[float, float]:
        """Between which magnitudes the `count`-th largest of the tensor should lie."""
        n = len(self.sizes)
        rank = (1 - count / self.numel) * n
        apart = SURE * math.sqrt(min(rank, n - rank)) + 1
        last, first = math.floor(rank - apart), math.ceil(rank + apart)
        return float(self.sizes[last]) if last > 0 else 0.0, float(self.sizes[first]) if first < n else math.inf


class Search:
    """Looks for the least of the `count` largest magnitudes of slices that it is shown once, in any order."""

    def __init__(self, count: int, bracket: tuple[float, float]) -> None:
        """`bracket`: between which magnitudes it should lie, the lower one first."""
        self.count, (self.low, self.high) = count, bracket
        self.above = self.over = self.at_least = 0  # entries larger than `high`, than `low`, and as `low` or larger
        self.found = 0  # entries above `low` and not above `high`
        self._near = np.empty(ROOM, np.float32)  # these; no list of pieces, between which freed slices leave holes

    def show(self, sizes: Any) -> None:
        """[n] magnitudes of a slice, float32 of numpy."""
        up_to_low = sizes <= self.low  # not `>`, so that NaN is above
        over = len(sizes) - int(np.count_nonzero(up_to_low))
        self.over += over
        self.at_least += len(sizes) - int(np.count_nonzero(sizes < self.low))
        if self.high == self.low:  # in a coarse dtype many differences are equal
            self.above += over
            return
        up_to_high = sizes <= self.high
        self.above += len(sizes) - int(np.count_nonzero(up_to_high))
        places = np.flatnonzero(up_to_low != up_to_high)
        start, self.found = self.found, self.found + len(places)
        if self.found <= ROOM:
            self._near[start : self.found] = sizes[places]

    def least(self) -> Least | None:
        """None where it lies outside of the bracket, or more than `ROOM` entries inside: then the slices are counted.

        NaN is the largest of all magnitudes.
        """
        if self.over < self.count <= self.at_least:  # many may be just as large as `low`: they are not collected
            return Least(self.low, self.over, self.at_least - self.over)
        if self.found > ROOM or not self.above < self.count <= self.over:
            return None
        near, place = self._near[: self.found], self.found - (self.count - self.above)
        near.partition(place)
        larger = self.above + int(np.count_nonzero(near > near[place]))
        return Least(float(near[place]), larger, int(np.count_nonzero(near == near[place])))
