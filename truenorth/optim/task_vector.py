"""The task vector of one parameter, SFT minus base: all of it, or what a rule keeps of it throughout a run."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..weights.sparsify import Cut, count_of, cut
from .draws import BLOCK, Kept, blocks, mask, places
from .rule import Rule

SPARSE = 0.05  # share of entries up to which those that are kept are taken one by one


@dataclass(frozen=True, slots=True)
class Dense:
    """Every entry, zero where it is never kept."""

    values: Tensor  # [n]

    def at(self, within: slice) -> Tensor:
        """[within] float32, not to be written to."""
        return self.values[within].float()


@dataclass(frozen=True, slots=True)
class Sparse:
    """The kept entries alone, piece by piece, or where the largest are kept in one."""

    kept: tuple[tuple[Kept, Tensor], ...]  # values [k]


def held(rule: Rule, task: Tensor, span: range, key: int, largest: Cut | None = None) -> Dense | Sparse:
    """What is kept of `task` [n], float32, which is consumed: all of it where each merge draws its own.

    `largest`: where the largest entries begin, if these entries alone do not tell.
    """
    dtype = getattr(torch, rule.stored)
    if rule.selection == "drawn" and (rule.fresh or rule.keep == 1):
        return Dense(task.to(dtype))
    if rule.selection == "drawn" and rule.keep <= SPARSE:
        kept = places(key, span, rule.keep, task.device)
        return Sparse(tuple((k, task[k.within].index_select(0, k.places).to(dtype)) for k in kept))
    if rule.selection == "drawn":
        for block, within, drawn in blocks(span, BLOCK):
            task[within].mul_(mask(key, block, drawn, task, share=rule.keep))
        return Dense(task.to(dtype))
    if rule.keep < 1:
        largest = cut([task], count_of(task.numel(), rule.keep)) if largest is None else largest
        task = largest.keep(task)
    if rule.keep > SPARSE:
        return Dense(task.to(dtype))
    found = task.nonzero().flatten()
    return Sparse(((Kept(slice(0, len(task)), found, key), task.index_select(0, found).to(dtype)),))


def size_of(rule: Rule, entries: int) -> int:
    """Bytes of the task vector of that many entries, about."""
    each = 2 if rule.stored == "bfloat16" else 4
    if rule.keep > SPARSE or rule.fresh:
        return each * entries
    return round((each + 8) * rule.keep * entries)  # with an int64 place
