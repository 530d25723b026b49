"""Random numbers by place: what is drawn for an entry depends on a key and on where the entry stands in its tensor.

So replicas agree, a shard draws what the whole tensor would have there, and a resumed run draws what it would have.

The numbers are made once and lie on a circle; a key says where on it a draw starts. That costs no more than to read
them. What an entry gets by different keys is independent and exact in law. Two entries get numbers at a fixed distance
on the circle, so that under one key they are not quite independent: a correlation of about one over the root of the
circle's length, 0.002 or less, of either sign.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

BLOCK = 2**18  # entries whose noise or mask is drawn together; their temporaries stay in a processor's cache
LEVELS = 2**18  # different numbers, each once on the circle of those
PIECE = 2**20  # entries that are worked on one after the other where few of them are kept
REACH = 2**24  # entries of which those that are kept are drawn together, and the length of their circle


def key_of(*parts: str | int) -> int:
    """A key in [0, 2^128) for what `parts` name.

    >>> key_of(0, "lm_head.weight") == key_of(0, "lm_head.weight") != key_of(1, "lm_head.weight")
    True
    """
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def three(key: int) -> tuple[int, int, int]:
    """Three keys that are independent of each other, cut out of one: to hash again would take longer.

    >>> three(3 << 80 | 2 << 40 | 1)
    (1, 2, 3)
    """
    return key % 2**40, (key >> 40) % 2**40, key >> 80


def _of_block(key: int, block: int) -> int:
    return key_of(key, block) if block else key


def blocks(span: range, size: int) -> Iterator[tuple[int, slice, slice]]:
    """The flat entries that a process holds of a parameter, cut where the whole parameter is, into blocks of `size`.

    For each block: its number, where it lies in the span, and which entries of the whole block these are.
    """
    for block in range(span.start // size, -(-span.stop // size)):
        at = block * size
        low, high = max(span.start - at, 0), min(span.stop - at, size)
        yield block, slice(at + low - span.start, at + high - span.start), slice(low, high)


@dataclass(frozen=True, slots=True)
class Kept:
    """The kept entries of a piece of a span."""

    within: slice  # of the span: where the piece lies in it
    places: Tensor  # [k] int64, from the start of `within`
    key: int  # of what else is drawn for them: it names block and first place


def places(key: int, span: range, share: float, device: torch.device) -> Iterator[Kept]:
    """The entries at `span` that are kept, each with probability `share`, piece by piece."""
    for within, found, low, own in drawn_places(key, span, share, device):
        yield Kept(within, found - low, own)


def drawn_places(
    key: int, span: range, share: float, device: torch.device
) -> Iterator[tuple[slice, Tensor, int, int]]:
    """The same, uncopied. Of each piece: where it lies in the span, the kept places on the circle, the place there of
    the piece's first entry (to be taken off), its key."""
    circle, found = _kept(share), _on_device(share, device)
    for own, at, low in _pieces(key, span):
        first, last = np.searchsorted(circle, (low, low + at.stop - at.start)).tolist()
        yield at, found[first:last], low, own + first


def flags(key: int, span: range, share: float, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """The same, as uint8 of each piece: 1 where an entry is kept, else 0. Not to be written to. They take 32 MB."""
    circle = _flags(share, device)
    for _, at, low in _pieces(key, span):
        yield at, circle[low : low + at.stop - at.start]


def _pieces(key: int, span: range) -> Iterator[tuple[int, slice, int]]:
    """Of a span: the key of its reach, where the piece lies in it, and where that begins on the circle."""
    for reach, within, drawn in blocks(span, REACH):
        own = _of_block(key, reach)
        for _, part, _ in blocks(range(drawn.start, drawn.stop), PIECE):
            at = slice(within.start + part.start, within.start + part.stop)
            yield own, at, own % REACH + drawn.start + part.start


@dataclass(frozen=True, slots=True)
class Run:
    """Blocks of a span that are drawn for alike: whole ones, or one of which the span has a part."""

    within: slice  # of the span
    blocks: range
    first: int  # entry of the first block

    def starts(self, key: int, device: torch.device) -> Tensor:
        """[k] int64: where on a circle of LEVELS each block begins."""
        return torch.tensor([_of_block(key, b) % LEVELS + self.first for b in self.blocks], device=device)


def runs(span: range) -> Iterator[Run]:
    """A span's blocks, as many together as make a piece."""
    waiting: Run | None = None
    for block, within, drawn in blocks(span, BLOCK):
        whole = drawn.stop - drawn.start == BLOCK
        if waiting and (not whole or len(waiting.blocks) == PIECE // BLOCK):
            yield waiting
            waiting = None
        if not whole:
            yield Run(within, range(block, block + 1), drawn.start)
        elif waiting is None:
            waiting = Run(within, range(block, block + 1), 0)
        else:
            waiting = Run(slice(waiting.within.start, within.stop), range(waiting.blocks.start, block + 1), 0)
    if waiting:
        yield waiting


def starts(key: int, span: range) -> Tensor:
    """[k] int64: where on a circle of LEVELS each block of a span begins, whole ones."""
    numbers = range(span.start // BLOCK, -(-span.stop // BLOCK))
    return torch.tensor([_of_block(key, block) % LEVELS for block in numbers], dtype=torch.int64)


def mask(key: int, block: int, drawn: slice, like: Tensor, *, share: float) -> Tensor:
    """float32, 1 with probability `share`, which is held to 1 / LEVELS, else 0. Not to be written to."""
    start = _of_block(key, block) % LEVELS
    return mask_circle(share, like.device)[start + drawn.start : start + drawn.stop]


def noise(key: int, block: int, drawn: slice, like: Tensor) -> Tensor:
    """float32 in (-1/2, 1/2), uniform, LEVELS different ones. Not to be written to."""
    start = _of_block(key, block) % LEVELS
    return noise_circle(like.device)[start + drawn.start : start + drawn.stop]


def noise_at(key: int, places: Tensor) -> Tensor:
    """[k]: the same kind at `places` [k] of a whole tensor."""
    return noise_circle(places.device).index_select(0, places.add(key % LEVELS).bitwise_and_(LEVELS - 1))


@cache
def noise_circle(device: torch.device) -> Tensor:
    """[LEVELS + BLOCK], of which `noise` is a part: more than once around, so that any block is a slice."""
    order = np.random.Generator(np.random.SFC64(0)).permutation(LEVELS)
    around = (order.astype(np.float32) + 0.5) / LEVELS - 0.5
    return torch.from_numpy(np.concatenate([around, around[:BLOCK]])).to(device)


@cache
def mask_circle(share: float, device: torch.device) -> Tensor:
    """[LEVELS + BLOCK], of which `mask` is a part."""
    return (noise_circle(device) < share - 0.5).float()


@cache
def _kept(share: float) -> Any:
    """int64, increasing: of 2 * REACH places, twice around, those that are kept."""
    count = max(1, round(share * REACH))
    draw = np.random.Generator(np.random.SFC64(0))
    distinct = np.unique(draw.integers(0, REACH, count + count // 8 + 64))  # more than asked, for shares to 0.05
    around = np.sort(draw.permutation(distinct)[:count])
    return np.concatenate([around, around + REACH])


@cache
def _on_device(share: float, device: torch.device) -> Tensor:
    return torch.from_numpy(_kept(share)).to(device)


@cache
def _flags(share: float, device: torch.device) -> Tensor:
    found = torch.zeros(2 * REACH, dtype=torch.uint8, device=device)
    return found.index_fill_(0, _on_device(share, device), 1)
