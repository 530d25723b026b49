"""One parameter's step merged with its task vector: what the optimizer would move it by, thinned out, and the pull.

An update of 1e-10 is lost in a float32 weight of 0.02, whose neighbours lie 2e-9 apart. So where a task vector is
added, the sum is rounded up or down by chance, in proportion, and arrives on average.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..weights.sparsify import Cut, count_of, cut
from .draws import Blocks, Kept, key_of, mask, noise, places
from .rule import Rule
from .task_vector import SPARSE, Dense, Sparse

EXPONENT = 0x7F800000  # the bits of a float32 that say between which powers of two it lies
NEAR = 1.25  # the factor within which a threshold is sought around the last one


class Movement(Protocol):
    """What an optimizer would move the weights by. They stand where they stood before."""

    def at(self, within: slice, places: Tensor | None = None) -> Tensor:
        """[within], or [k] at `places` in it: a new tensor."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """A movement that is there."""

    values: Tensor  # [n]

    def at(self, within: slice, places: Tensor | None = None) -> Tensor:
        values = self.values[within]
        return values.clone() if places is None else values.index_select(0, places)


@dataclass(frozen=True, slots=True)
class OfAdam:
    """A movement from Adam's moments:  -rate * mean / (root * sqrt(square) + epsilon)."""

    mean: Tensor  # [n]
    square: Tensor  # [n]
    rate: float  # learning rate over the mean's bias correction
    root: float  # one over the root of the square's
    epsilon: float

    def at(self, within: slice, places: Tensor | None = None) -> Tensor:
        mean, square = self.mean[within], self.square[within]
        if places is not None:
            mean, square = mean.index_select(0, places), square.index_select(0, places)
        below = square.sqrt().mul_(self.root).add_(self.epsilon)
        return torch.div(mean, below, out=below).mul_(-self.rate)


class TensorMerge:
    """Merges the steps of one parameter, of which it holds the entries at `span`."""

    def __init__(self, rule: Rule, span: range, task: Dense | Sparse) -> None:
        self.rule, self.span, self.task = rule, span, task
        self.last: float | None = None  # magnitude above which entries were the largest

    def __call__(self, weights: Tensor, movement: Movement, key: int) -> None:
        """Move `weights` [n]. The key is of this merge and this parameter."""
        if self.rule.selection == "drawn" and self.rule.keep <= SPARSE:
            self._few(weights, movement, key)
        elif self.rule.selection == "drawn":
            self._drawn(weights, movement, key)
        else:
            self._largest(weights, movement, key)

    def _few(self, weights: Tensor, movement: Movement, key: int) -> None:
        """Update and pull one after the other, as a rule that draws is linear; only kept entries are touched."""
        rule, nothing = self.rule, torch.zeros((), device=weights.device)
        for kept in places(key_of(key, "update"), self.span, rule.keep, weights.device):
            update = movement.at(kept.within, kept.places).mul_(rule.scale)
            weights[kept.within].index_add_(0, kept.places, rule.combined(update, nothing))
        for kept, task in self._few_of_task(key) if rule.alpha else ():
            block = weights[kept.within]
            pulled = block.index_select(0, kept.places)
            pull = rule.combined(torch.zeros_like(pulled), task.float() * rule.scale)
            _add(pulled, pull, noise(key_of(key, "rounding", kept.key), kept.drawn, weights.device))
            block.index_copy_(0, kept.places, pulled)

    def _few_of_task(self, key: int) -> Iterator[tuple[Kept, Tensor]]:
        if isinstance(self.task, Sparse):
            yield from self.task.kept.values()
            return
        values = self.task.values
        for kept in places(key_of(key, "task"), self.span, self.rule.keep, values.device):
            yield kept, values[kept.within].index_select(0, kept.places)

    def _drawn(self, weights: Tensor, movement: Movement, key: int) -> None:
        rule, device = self.rule, weights.device
        for block, within, drawn in Blocks(self.span):
            update, task = movement.at(within), self.task.at(block, within)
            if rule.keep < 1:
                update.mul_(mask(key_of(key, "update", block), drawn, rule.keep, device))
                if rule.fresh:
                    task = task * mask(key_of(key, "task", block), drawn, rule.keep, device)
            if rule.scale != 1:
                update.mul_(rule.scale)
                task = task * rule.scale
            self._move(weights[within], rule.combined(update, task), key_of(key, "rounding", block), drawn)

    def _largest(self, weights: Tensor, movement: Movement, key: int) -> None:
        rule, count = self.rule, count_of(len(weights), self.rule.keep)
        kept = find_cut(_Pieces(movement, self.span), count, self.last) if rule.keep < 1 else None
        self.last = kept and kept.magnitude
        for block, within, drawn in Blocks(self.span):
            update = movement.at(within)
            if kept is not None:
                update.mul_(kept.largest(update))
            moved = rule.combined(update, self.task.at(block, within))
            self._move(weights[within], moved, key_of(key, "rounding", block), drawn)

    def _move(self, weights: Tensor, by: Tensor, key: int, drawn: slice) -> None:
        if self.rule.alpha:
            _add(weights, by, noise(key, drawn, weights.device))
        else:
            weights.add_(by)


def _add(weights: Tensor, by: Tensor, noise: Tensor) -> None:
    """weights += by, rounded by chance: the noise is as wide as the step to the next number on its side.

    Where `by` is 0 nothing moves. Writes to `by`.
    """
    inward = torch.mul(weights, noise).lt_(0)  # below a power of two numbers lie closer than above it
    step = weights.view(torch.int32).sub(inward.to(torch.int32)).bitwise_and_(EXPONENT).view(torch.float32)
    weights.add_(by.addcmul_(step, noise, value=2.0**-23))


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A movement block by block, as often as it is gone through."""

    movement: Movement
    span: range

    def __iter__(self) -> Iterator[Tensor]:
        return (self.movement.at(within) for _, within, _ in Blocks(self.span))


def find_cut(pieces: _Pieces, count: int, last: float | None) -> Cut:
    """Where the `count` largest magnitudes begin, exactly. It is sought near `last`, where it was, at first."""
    if not last:
        return cut(pieces, count)
    low, high = last / NEAR, last * NEAR
    above, between = 0, list[Tensor]()
    for piece in pieces:
        sizes = piece.abs_()
        above += int((sizes > high).sum())
        between.append(sizes[(sizes >= low).logical_and_(sizes <= high)])
    near, wanted = torch.cat(between), count - above
    if not 0 < wanted <= len(near):
        return cut(pieces, count)
    magnitude = float(near.kthvalue(len(near) - wanted + 1).values)
    return Cut(magnitude, wanted - int((near > magnitude).sum()))
