"""Gradients of one step over all processes: summed where each has its own, and their norm."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from ..processes import Group
from .sharding import local

BUCKET = 2**24  # numbers summed at once; 64 MB in float32


@torch.no_grad()
def reduce_gradients(parameters: Sequence[torch.nn.Parameter], group: Group) -> None:
    """Sum the gradients of `parameters` over the processes of `group`, which have trained on different rows.

    Those of parameters that FSDP shares out are summed already. A gradient that only some processes have counts as 0
    in the others.
    """
    for parameter in parameters:
        if isinstance(parameter.grad, DTensor) and any(p.is_partial() for p in parameter.grad.placements):
            whole = [Replicate() if p.is_partial() else p for p in parameter.grad.placements]
            parameter.grad = parameter.grad.redistribute(placements=whole)
    if group.size == 1:
        return
    own = [p for p in parameters if not _summed_by_fsdp(p)]
    if not own:
        return
    there = [any(flags) for flags in zip(*group.gather([p.grad is not None for p in own]), strict=True)]
    for parameter, somewhere in zip(own, there, strict=True):
        if somewhere and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([local(p.grad) for p in own if p.grad is not None]):
        flat = group.sum(torch.cat([gradient.flatten() for gradient in bucket]))
        for gradient, summed in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(summed.view_as(gradient))


@torch.no_grad()
def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The L2 norm of all gradients together, float32: every process gets that of the whole model."""
    norms: dict[tuple[object, ...], list[Tensor]] = {}  # by the process groups that hold the rest of a gradient
    for gradient in gradients:
        norms.setdefault(_sharers(gradient), []).append(torch.linalg.vector_norm(local(gradient), dtype=torch.float32))
    if list(norms) == [()]:
        return torch.linalg.vector_norm(torch.stack(norms[()]))
    total = torch.zeros((), device=local(gradients[0]).device)
    for groups, parts in norms.items():
        squares = torch.stack(parts).square().sum()
        for group in groups:
            dist.all_reduce(squares, group=group)  # pyright: ignore[reportArgumentType]  -- a ProcessGroup
        total += squares
    return total.sqrt()


def _sharers(gradient: Tensor) -> tuple[object, ...]:
    if not isinstance(gradient, DTensor):
        return ()
    sharded = (i for i, placement in enumerate(gradient.placements) if not placement.is_replicate())
    return tuple(gradient.device_mesh.get_group(i) for i in sharded)


def _summed_by_fsdp(parameter: torch.nn.Parameter) -> bool:
    return isinstance(parameter, DTensor) and "shard" in (parameter.device_mesh.mesh_dim_names or ())


def _buckets(gradients: Sequence[Tensor]) -> list[list[Tensor]]:
    """Gradients of one dtype, up to BUCKET numbers together: few large sums are faster than many small ones."""
    buckets: list[list[Tensor]] = []
    room = 0
    for gradient in gradients:
        if not buckets or gradient.numel() > room or gradient.dtype != buckets[-1][0].dtype:
            buckets.append([])
            room = max(BUCKET, gradient.numel())
        buckets[-1].append(gradient)
        room -= gradient.numel()
    return buckets
