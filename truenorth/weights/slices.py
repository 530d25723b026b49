"""Tensors read from disk a slice at a time, as float32: a tensor of any size takes the memory of a slice."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .bracket import Sample
from .header import FLOATS, Stored

SLICE = 1 << 18  # entries, 1 MB in float32: what stays in the processor's cache; larger ones take twice the time

SAMPLED = 8  # a sample reads the first eighth of each slice, ...
STRIDE = (
    17  # ... and takes every 17th entry of that, of large tensors fewer; an odd step meets all columns of a matrix
)

Source = Callable[[int, int], Tensor]  # entries [start, end) of a tensor, flat, as float32 where it is of numbers


@dataclass(frozen=True, slots=True)
class Slice:
    """The same entries of a tensor in every checkpoint, flat, float32."""

    models: Sequence[Tensor]
    base: Tensor | None  # None: the merge takes none

    @property
    def task_vectors(self) -> list[Tensor]:
        """models - base."""
        assert self.base is not None
        return [model - self.base for model in self.models]


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """A tensor of every checkpoint: what a merge sees."""

    name: str
    numel: int
    models: Sequence[Source]
    base: Source | None = None
    layer: tuple[int, int] | None = None  # which layer it belongs to, of how many; None outside of the layers
    slice_size: int = SLICE

    def slices(self) -> Iterator[Slice]:
        """The tensor from its first entry to its last; may be gone through again."""
        for start, end in self.spans():
            base = self.base(start, end) if self.base is not None else None
            yield Slice([model(start, end) for model in self.models], base)

    def spans(self) -> Iterator[tuple[int, int]]:
        """First entry of each slice, and the one after its last."""
        for start in range(0, self.numel, self.slice_size):
            yield start, min(start + self.slice_size, self.numel)

    def samples(self) -> list[Sample]:
        """Of each model's task vector about as many entries as a slice has, from all over the tensor."""
        assert self.base is not None
        stride = max(STRIDE, self.numel // (SAMPLED * SLICE) | 1)
        parts = [range(start, start + math.ceil((end - start) / SAMPLED), stride) for start, end in self.spans()]
        found = torch.empty(len(self.models), sum(map(len, parts)))  # at once, as pieces leave holes in memory
        places = zip(parts, found.split([len(part) for part in parts], dim=1), strict=True)
        for part, place in places:
            base = self.base(part.start, part.stop)[::stride]
            for own, model in zip(place, self.models, strict=True):
                torch.sub(model(part.start, part.stop)[::stride], base, out=own)
        return [Sample.of(entries, self.numel) for entries in found]

    def vectors(self, model: int) -> "Vectors":
        """The task vector of one model in slices."""
        return Vectors(self, model)


@dataclass(frozen=True, slots=True)
class Vectors:
    """A model's task vector, slice by slice, as often as it is asked for."""

    of: NamedTensor
    model: int

    def __iter__(self) -> Iterator[Tensor]:
        assert self.of.base is not None
        for start, end in self.of.spans():
            yield self.of.models[self.model](start, end) - self.of.base(start, end)


def stored(tensor: Stored) -> Source:
    """The entries of a tensor in a file."""
    dtype = torch_dtype(tensor.dtype)

    def read(start: int, end: int) -> Tensor:
        entries = torch.empty(end - start, dtype=dtype)
        # unbuffered reads, not a memory map: pages of a map count as the process's memory until it is closed
        with tensor.file.open("rb", buffering=0) as data:
            data.seek(tensor.offset + start * entries.element_size())
            view, done = entries.view(torch.uint8).numpy().data, 0
            while done < len(view) and (got := data.readinto(view[done:])):
                done += got
        if done < len(view):
            raise OSError(f"{tensor.file} has become shorter while it was read.")
        return entries.float() if tensor.dtype in FLOATS else entries

    return read


def whole(tensor: Stored) -> Tensor:
    """A tensor of a file in one piece, float32."""
    return stored(tensor)(0, tensor.numel).view(tensor.shape)


def in_memory(tensor: Tensor) -> Source:
    """The entries of a tensor that is there."""
    flat = tensor.detach().flatten()
    return lambda start, end: flat[start:end].float()


def torch_dtype(name: str) -> torch.dtype:
    """The dtype that a safetensors file calls so.

    >>> torch_dtype("BF16")
    torch.bfloat16
    """
    others = {"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}
    return getattr(torch, (FLOATS | others)[name])
