"""Frozen weights in the dtype they are multiplied in: half the memory, the same numbers to the bit.

Under bfloat16 autocast torch rounds a linear layer's weight and bias at every call. Those of a frozen layer can be
rounded once: the base under an adapter, a frozen copy, another model. Embeddings and norms are read in float32 and
stay so, and with them a head that is tied to the embeddings; whatever is trained stays float32 too.
"""

import copy
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from .logprobs import Model

LINEAR = (nn.Linear, Conv1D)


def store_frozen(model: Model) -> None:
    """Round what linear layers of `model` alone use, and nobody trains, to bfloat16. In place."""
    for parameter in _linear_parameters(model):
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)


def frozen_copy(model: Model, *, half: bool) -> Model:
    """A copy of `model` in evaluation mode and without gradients, its linear layers in bfloat16 if `half`."""
    rounded = {id(p): nn.Parameter(p.detach().to(torch.bfloat16)) for p in _linear_parameters(model)} if half else {}
    return copy.deepcopy(model, rounded).requires_grad_(False).eval()  # takes the rounded ones for copies made already


def size_of_copy(model: Model, *, half: bool) -> int:
    """Bytes that the parameters of `frozen_copy` take, of a sharded model those in this process."""
    rounded = {id(p) for p in _linear_parameters(model)} if half else set[int]()
    return sum(_local_size(p) * (2 if id(p) in rounded else p.element_size()) for p in model.parameters())


def _local_size(parameter: nn.Parameter) -> int:
    return (parameter.to_local() if isinstance(parameter, DTensor) else parameter).numel()


def _linear_parameters(model: Model) -> list[nn.Parameter]:
    """Weights and biases of linear layers, without those that another kind of module shares."""
    others = {id(p) for module in model.modules() if not isinstance(module, LINEAR) for p in _own(module)}
    linear = {id(p): p for module in model.modules() if isinstance(module, LINEAR) for p in _own(module)}
    return [p for place, p in linear.items() if place not in others]


def _own(module: nn.Module) -> list[nn.Parameter]:
    return list(module.parameters(recurse=False))


class _Float32Products(TorchFunctionMode):
    PRODUCTS = frozenset({nn.functional.linear, torch.addmm, torch.mm, torch.matmul, torch.Tensor.matmul})

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in self.PRODUCTS:
            args = [a.float() if isinstance(a, torch.Tensor) and a.dtype == torch.bfloat16 else a for a in args]
        return func(*args, **(kwargs or {}))


@contextmanager
def float32_products() -> Generator[None]:
    """Within it rounded weights are multiplied in float32, one at a time, so that results can be compared strictly."""
    with _Float32Products():
        yield
