"""Which entries of a tensor are kept: the largest, those between, or random ones.

A tensor may come in slices, so that one that does not fit in memory is cut at the same magnitude as in one piece.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from .bracket import Search

if TYPE_CHECKING:
    from .slices import NamedTensor

LOW_BITS = 16  # of the 31 that order float32 magnitudes


def count_of(numel: int, share: float) -> int:
    """How many of `numel` entries a share is: the nearest number, but at least one of a share that is not 0.

    >>> count_of(10, 0.25), count_of(30, 0.01), count_of(30, 0.0)
    (2, 1, 0)
    """
    return max(1, round(numel * share)) if share > 0 and numel else 0


@dataclass(slots=True)
class Cut:
    """The magnitude above which the largest entries begin. Hand it the slices once, in order: it counts ties."""

    magnitude: float
    ties: int  # of the entries of just this magnitude, the first ones are among the largest

    def largest(self, tensor: Tensor) -> Tensor:
        """[same shape] whether an entry is among the largest of the whole tensor."""
        sizes = tensor.abs()
        mask, tied = sizes > self.magnitude, sizes == self.magnitude
        if not self.ties:
            return mask
        if (found := int(tied.sum())) > self.ties:
            tied = tied.logical_and_((tied.flatten().cumsum(0) <= self.ties).view_as(tied))
        self.ties -= min(found, self.ties)
        return mask.logical_or_(tied)

    def keep(self, tensor: Tensor) -> Tensor:
        """`tensor` with the entries set to 0 that are not among the largest. Of float32 several times faster."""
        if tensor.dtype != torch.float32:
            return tensor.where(self.largest(tensor), 0)
        if not self.ties:
            return hardshrink(tensor, self.magnitude)
        if (found := _equal(tensor, self.magnitude)) > self.ties:
            return tensor.where(self.largest(tensor), 0)
        self.ties -= found
        below = torch.nextafter(torch.tensor(self.magnitude), torch.tensor(-1.0))  # so that the magnitude itself stays
        return hardshrink(tensor, float(below))


def _equal(tensor: Tensor, magnitude: float) -> int:
    """How many entries have just this magnitude."""
    if tensor.is_cpu:  # numpy compares and counts several times faster than torch
        return int(np.count_nonzero(np.abs(tensor.detach().numpy()) == magnitude))
    return int((tensor.abs() == magnitude).sum())


def cut(slices: Iterable[Tensor], count: int) -> Cut:
    """Where the `count` largest magnitudes of float32 slices begin, exactly, and without a sort.

    Passes over `slices` twice: give a list, or an object that can be gone through again, no iterator.
    A magnitude's bits, taken as a whole number, order it: their upper part is counted first, then the lower part of
    those that share the upper part of the one that is sought.
    """
    if count == 0:
        return Cut(float("inf"), 0)
    high, above = _bucket((_bits(part) >> LOW_BITS for part in slices), count)
    chosen = (bits[bits >> LOW_BITS == high] & (1 << LOW_BITS) - 1 for bits in map(_bits, slices))
    low, above_low = _bucket(chosen, count - above)
    bits = torch.tensor(high << LOW_BITS | low, dtype=torch.int32)
    return Cut(float(bits.view(torch.float32)), count - above - above_low)


def cuts(tensor: "NamedTensor", counts: Sequence[int]) -> list[list[Cut]]:
    """[models][counts] where the largest entries of each task vector begin: `cut`, of tensors on disk twice as fast.

    A sample tells about where, and one pass over all models finds each of them. What it misleads is counted.
    """
    samples = tensor.samples()
    searches = [[Search(count, sample.bracket(count)) for count in counts] for sample in samples]
    spare = np.empty(min(tensor.numel, tensor.slice_size), np.float32)  # new memory takes longer to touch
    for part in tensor.slices():
        assert part.base is not None
        for own, model in zip(searches, part.models, strict=True):
            sizes = spare[: len(model)]
            np.abs(np.subtract(model.numpy(), part.base.numpy(), out=sizes), out=sizes)
            for search in own:
                search.show(sizes)
    return [[_cut_of(tensor.vectors(model), search) for search in own] for model, own in enumerate(searches)]


def _cut_of(slices: Iterable[Tensor], search: Search) -> Cut:
    if search.count == 0 or (found := search.least()) is None:
        return cut(slices, search.count)
    return Cut(found.magnitude, search.count - found.larger)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.flatten().abs().to(torch.float32).view(torch.int32)


def _bucket(numbers: Iterable[Tensor], count: int) -> tuple[int, int]:
    """The number that the `count`-th largest has, and how many are larger. Numbers are below 2**16."""
    histogram = torch.zeros(1 << LOW_BITS, dtype=torch.int64)
    for part in numbers:
        histogram += torch.bincount(part, minlength=1 << LOW_BITS).cpu()
    at_least = histogram.flip(0).cumsum(0).flip(0)  # [n] how many numbers are n or larger
    number = int((at_least >= count).sum()) - 1
    return number, int(at_least[number] - histogram[number])


def keep_largest(tensor: Tensor, share: float) -> Tensor:
    """`tensor` with all but the largest magnitudes set to 0. Of equal ones at the border the first are kept.

    >>> keep_largest(torch.tensor([1.0, -3.0, 2.0, -2.0]), 0.5)
    tensor([ 0., -3.,  2.,  0.])
    """
    return cut([tensor], count_of(tensor.numel(), share)).keep(tensor)


def keep_middle(tensor: Tensor, *, smallest: float, largest: float) -> Tensor:
    """`tensor` with a share of the smallest and a share of the largest magnitudes set to 0.

    >>> keep_middle(torch.tensor([1.0, -3.0, 2.0, -4.0]), smallest=0.25, largest=0.25)
    tensor([ 0., -3.,  2.,  0.])
    """
    outer, inner = (
        cut([tensor], count) for count in middle_counts(tensor.numel(), smallest=smallest, largest=largest)
    )
    return inner.keep(tensor) - outer.keep(tensor)


def middle_counts(numel: int, *, smallest: float, largest: float) -> tuple[int, int]:
    """How many of the largest entries `keep_middle` sets to 0, and how many there are down to the least that it keeps.

    >>> middle_counts(100, smallest=0.85, largest=0.01)
    (1, 15)
    """
    over, under = count_of(numel, largest), count_of(numel, smallest)
    return over, max(over, numel - under)


def keep_random(tensor: Tensor, share: float, generator: torch.Generator, *, rescale: bool) -> Tensor:
    """Each entry with probability `share`, else 0; with `rescale` divided by the share, so that the mean stays.

    One number is drawn per entry, in order: slices one after the other give what the whole would.
    """
    draws = torch.rand(tensor.shape, generator=generator, device=tensor.device)
    kept = tensor.where(draws < share, 0)
    return kept / share if rescale else kept


def generator(seed: int, *key: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that seed and key determine, a tensor's name for instance: no order of tensors or shards matters.

    >>> a, b = (torch.rand(2, generator=generator(0, "layers.0", 1)) for _ in range(2))
    >>> bool((a == b).all())
    True
    """
    digest = hashlib.blake2b(repr((seed, *key)).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)
