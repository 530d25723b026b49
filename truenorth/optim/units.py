"""What is merged at once: a large tensor, or small ones together, as a call takes as long as some thousand entries."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from ..weights.sparsify import Cut
from .draws import PIECE
from .kernel_merge import KernelMerge
from .movement import Given, Movement
from .native import Steps
from .native_merge import NativeMerge
from .rule import Rule
from .shards import local, span_of
from .task_vector import Dense, Sparse
from .tensor_merge import TensorMerge

SMALL = 2**17  # entries up to which tensors are merged together
Merge = TensorMerge | NativeMerge | KernelMerge
RANKED = 2**24  # entries of a process whose largest are found in the same rounds of messages


@dataclass(frozen=True, slots=True)
class Unit:
    """A large tensor, or small ones of one group: random numbers are drawn as if they lay one after the other."""

    names: tuple[str, ...]
    group: int  # number of the group of parameters
    parameters: tuple[Tensor, ...]
    merges: tuple[Merge, ...]  # one of all entries; where processes share tensors out, one of each tensor's

    @property
    def size(self) -> int:
        """How many entries this process holds."""
        return sum(len(merge.span) for merge in self.merges)

    def move(self, due: Set[str], movement: Movement, key: int, cut: Cut | None = None) -> None:
        """Merge those of its tensors that are `due`."""
        own = [local(parameter) for parameter in self.parameters]
        sizes = [len(weights) for weights in own]
        if len(own) == 1:
            self.merges[0](own[0], movement, key, cut)
        elif len(self.merges) == 1:
            together = torch.cat(own)
            self.merges[0](together, movement, key)
            for name, weights, merged in zip(self.names, own, together.split(sizes), strict=True):
                if name in due:
                    weights.copy_(merged)
        else:
            parts = movement.at(slice(0, sum(sizes))).split(sizes)
            for name, merge, weights, moved in zip(self.names, self.merges, own, parts, strict=True):
                if name in due:
                    merge(weights, Given(moved), key)


def laid_out(parameters: Sequence[Tensor], task: Sequence[Tensor]) -> tuple[list[range], Sequence[Tensor]]:
    """Of each merge of a unit: which entries it holds, and its part of the task vector.

    `task` is the task vector of each parameter, as far as this process holds it.
    """
    spans = [span_of(parameter) for parameter in parameters]
    if all(len(span) == p.numel() for span, p in zip(spans, parameters, strict=True)):
        flat = flattened(task)
        return [range(len(flat))], [flat]
    starts = accumulate((p.numel() for p in parameters), initial=0)
    return [range(at + span.start, at + span.stop) for at, span in zip(starts, spans, strict=False)], task


def kind_of(parameters: Sequence[Tensor], later: Steps | None) -> Callable[[Rule, range, Dense | Sparse], Merge]:
    """What merges a unit. `later`: None where nothing is compiled; else where C collects steps of few entries."""
    alone = len(parameters) == 1
    if later is not None and parameters[0].is_cpu:  # several move in a copy, which waits for them
        return partial(NativeMerge, later=later if alone else None)
    return KernelMerge if later is not None and alone else TensorMerge


def packed(named: Mapping[str, Tensor], *, small: int, most: int = PIECE) -> Iterator[tuple[str, ...]]:
    """The names of each unit's tensors: one of more than `small` entries alone, others together, up to `most` entries.

    Entries of whole tensors are counted, also where processes share them out, so that all pack alike.
    """
    waiting, entries = list[str](), 0
    for name, tensor in named.items():
        size = tensor.numel()
        if size > small:
            yield (name,)
            continue
        if entries + size > most:
            yield tuple(waiting)
            waiting, entries = [], 0
        waiting.append(name)
        entries += size
    if waiting:
        yield tuple(waiting)


def flattened(tensors: Sequence[Tensor]) -> Tensor:
    """One tensor's entries where they stand, or a copy of all, as far as this process holds them."""
    return local(tensors[0]) if len(tensors) == 1 else torch.cat([local(tensor) for tensor in tensors])
