"""Random numbers by place: what is drawn for an entry depends on a key and on where the entry stands in its tensor.

So replicas agree, a shard draws what the whole tensor would have there, and a resumed run draws what it would have.
A GPU has a generator of its own: its numbers are others than a CPU's.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

BLOCK = 2**19  # entries that are drawn together; their temporaries stay in a processor's cache
LEVELS = 2**16  # of the numbers that are drawn densely


def key_of(*parts: str | int) -> int:
    """A key in [0, 2^62) for what `parts` name.

    >>> key_of(0, "lm_head.weight") == key_of(0, "lm_head.weight") != key_of(1, "lm_head.weight")
    True
    """
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 2


@dataclass(frozen=True, slots=True)
class Blocks:
    """The flat entries that a process holds of a parameter, cut where the whole parameter is."""

    span: range  # of places in the whole parameter

    def __iter__(self) -> Iterator[tuple[int, slice, slice]]:
        """For each block: its number, where it lies in the span, and which entries of the whole block these are."""
        for block in range(self.span.start // BLOCK, -(-self.span.stop // BLOCK)):
            at = block * BLOCK
            low, high = max(self.span.start - at, 0), min(self.span.stop - at, BLOCK)
            yield block, slice(at + low - self.span.start, at + high - self.span.start), slice(low, high)


@dataclass(frozen=True, slots=True)
class Kept:
    """The kept entries of one block, as far as they lie in a span."""

    key: int  # of the block
    within: slice  # of the span: where the block lies in it
    places: Tensor  # [k] int64, from the start of `within`
    drawn: slice  # which they are of all that the block keeps


def places(key: int, span: range, share: float, device: torch.device) -> Iterator[Kept]:
    """The entries at `span` that are kept, each with probability `share`, block by block.

    Costs a draw for a kept entry, not for every one: gaps between kept entries are geometric.
    """
    for block, within, drawn in Blocks(span):
        low, high, own = drawn.start, drawn.stop, key_of(key, block)
        most = math.ceil(share * high + 8 * math.sqrt(share * high) + 16)  # more than that come once in 1e14 blocks
        gaps = _exponential(own, most, device).div_(-math.log1p(-share) if share < 1 else math.inf)
        found = gaps.to(torch.int64).add_(1).cumsum_(0).sub_(1)
        first, last = torch.searchsorted(found, torch.tensor([low, high], device=device)).tolist()
        yield Kept(own, within, found[first:last] - low, slice(first, last))


def mask(key: int, drawn: slice, share: float, device: torch.device) -> Tensor:
    """bool, each true with probability `share`, which is held to 1 / LEVELS."""
    if device.type == "cpu":
        return torch.from_numpy(_levels(key, drawn) < min(round(share * LEVELS), LEVELS - 1))
    return torch.rand(drawn.stop, generator=_on(device, key), device=device)[drawn] < share


def noise(key: int, drawn: slice, device: torch.device) -> Tensor:
    """float32 in (-1/2, 1/2), uniform, LEVELS different ones."""
    if device.type == "cpu":
        return torch.from_numpy(_levels(key, drawn).astype(np.float32)).add_(0.5 - LEVELS / 2).div_(LEVELS)
    return torch.rand(drawn.stop, generator=_on(device, key), device=device)[drawn].sub_(0.5)


def _levels(key: int, drawn: slice) -> Any:
    """uint16: of the numbers that belong to a key those at `drawn`, four to a draw."""
    return np.random.SFC64(key).random_raw(-(-drawn.stop // 4)).view(np.uint16)[drawn]


def _exponential(key: int, count: int, device: torch.device) -> Tensor:
    if device.type == "cpu":
        return torch.from_numpy(np.random.Generator(np.random.SFC64(key)).standard_exponential(count))
    return torch.empty(count, dtype=torch.float64, device=device).exponential_(generator=_on(device, key))


def _on(device: torch.device, key: int) -> torch.Generator:
    return torch.Generator(device).manual_seed(key)
