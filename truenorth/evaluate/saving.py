"""What of a run's movement is lost where its weights are written in fewer bits than they were trained in.

bfloat16 has 8 bits: a weight of 0.02 is next to ones 0.00006 or 0.00012 away, and a movement of less than half of that
is rounded back. The start's files are read for it tensor by tensor, so that no second model is held.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import ModelError
from ..models.logprobs import Model, base_of
from ..models.origin import folder_of
from ..train.saving import Saving
from ..weights.store import Checkpoint, open_checkpoint

ENTRIES = 2**20  # compared at once: what is made of them stays in the cache


def saving(model: Model, weights: Mapping[str, Tensor], start: str, dtype: torch.dtype) -> Saving | None:
    """What writing the whole `weights` of `model`, all of which are trained, in `dtype` takes from what moved them
    away from the model at `start`. None where it takes nothing: float32, in which they are trained, and wider ones.

    Tensors that the files at `start` name or shape in another way, such as experts that are stored apart, are not
    compared, nor is anything where the files cannot be read: `left_out` of the result tells.
    """
    if dtype.itemsize >= torch.float32.itemsize:
        return None
    sums, compared = torch.zeros(5, dtype=torch.float64), 0
    once = {id(tensor): tensor.numel() for tensor in weights.values() if tensor.is_floating_point()}
    for trained, stored in _pairs(model, weights, start):
        compared += trained.numel()
        parts = zip(trained.flatten().split(ENTRIES), stored.flatten().split(ENTRIES), strict=True)
        for now, before in parts:
            sums += _sums(now, before, dtype)
    moved, lost, count, unchanged, overflowed = sums.tolist()
    name = str(dtype).removeprefix("torch.")
    if not math.isfinite(moved):  # a run that broke, which is told elsewhere
        return None
    return Saving(
        name,
        weights=compared,
        moved=math.sqrt(moved),
        lost=math.sqrt(lost),
        unchanged=unchanged / max(count, 1),
        overflowed=int(overflowed),
        left_out=sum(once.values()) - compared,
    )


def _sums(now: Tensor, before: Tensor, dtype: torch.dtype) -> Tensor:
    """[5]: squares of the movement and of the rounding, and how many weights moved, round back, and do not fit."""
    before, rounded = before.to(now.dtype), now.to(dtype)  # as it was loaded
    moved, fits = now != before, rounded.isfinite()
    error = torch.where(moved & fits, rounded.to(now.dtype) - now, 0)
    squares = [torch.linalg.vector_norm(by, dtype=torch.float64).square() for by in (now - before, error)]
    counts = [moved.sum(), (moved & (rounded == before.to(dtype))).sum(), (moved & ~fits).sum()]
    return torch.stack([*squares, *(count.double() for count in counts)])


def _pairs(model: Model, weights: Mapping[str, Tensor], start: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Each trained tensor, tied ones once, beside the one that the start's files have in its place."""
    if (files := _files(start)) is None:
        return
    prefix, seen = f"{base_of(model).base_model_prefix}.", set[int]()  # files of a model without its head lack it
    for name, tensor in weights.items():
        places = (name, name.removeprefix(prefix), prefix + name)
        place = next((place for place in places if place in files.tensors), None)
        if place is None or id(tensor) in seen or not tensor.is_floating_point():
            continue
        if files.tensors[place].shape == tuple(tensor.shape):
            seen.add(id(tensor))
            try:
                with safe_open(files.tensors[place].file, framework="pt") as file:
                    stored = file.get_tensor(place)
            except (OSError, SafetensorError):  # moved since the start: no reason to lose what was trained
                continue
            yield tensor, stored


def _files(start: str) -> Checkpoint | None:
    folder = folder_of(start)
    try:
        return None if folder is None else open_checkpoint(folder)
    except (ModelError, OSError):
        return None
