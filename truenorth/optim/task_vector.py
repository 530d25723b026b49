"""The task vector of one parameter, SFT minus base: all of it, or what a rule keeps of it throughout a run."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..weights.sparsify import count_of, cut
from .draws import Blocks, Kept, key_of, mask, places
from .rule import Rule

SPARSE = 0.05  # share of entries up to which those that are kept are taken one by one


@dataclass(frozen=True, slots=True)
class Dense:
    """Every entry, zero where it is never kept."""

    values: Tensor  # [n]

    def at(self, block: int, within: slice) -> Tensor:
        """[within] float32, not to be written to."""
        del block
        return self.values[within].float()


@dataclass(frozen=True, slots=True)
class Sparse:
    """The kept entries alone, block by block."""

    kept: dict[int, tuple[Kept, Tensor]]  # by the block's number; values [k]

    def at(self, block: int, within: slice) -> Tensor:
        """[within] float32."""
        kept, values = self.kept[block]
        dense = torch.zeros(within.stop - within.start, device=values.device)
        return dense.index_copy_(0, kept.places, values.float())


def held(rule: Rule, task: Tensor, span: range, key: int) -> Dense | Sparse:
    """What is kept of `task` [n], float32: all of it where each merge draws its own."""
    dtype = getattr(torch, rule.stored)
    if rule.selection == "drawn" and (rule.fresh or rule.keep == 1):
        return Dense(task.to(dtype))
    if rule.selection == "drawn" and rule.keep <= SPARSE:
        return Sparse(
            {
                block: (kept, task[kept.within].index_select(0, kept.places).to(dtype))
                for (block, _, _), kept in zip(Blocks(span), places(key, span, rule.keep, task.device), strict=True)
            }
        )
    if rule.selection == "drawn":
        for block, within, drawn in Blocks(span):
            task[within].mul_(mask(key_of(key, block), drawn, rule.keep, task.device))
        return Dense(task.to(dtype))
    found = cut([task], count_of(task.numel(), rule.keep))
    task = task.where(found.largest(task), 0)
    return Dense(task.to(dtype)) if rule.keep > SPARSE else Sparse(dict(_nonzero(task.to(dtype), span)))


def _nonzero(task: Tensor, span: range) -> Iterable[tuple[int, tuple[Kept, Tensor]]]:
    for block, within, _ in Blocks(span):
        found = task[within].nonzero().flatten()
        kept = Kept(block, within, found, slice(0, len(found)))
        yield block, (kept, task[within].index_select(0, found))


def size_of(rule: Rule, entries: int) -> int:
    """Bytes of the task vector of that many entries, about."""
    each = 2 if rule.stored == "bfloat16" else 4
    if rule.keep > SPARSE or rule.fresh:
        return each * entries
    return round((each + 8) * rule.keep * entries)  # with an int64 place
