"""Whether processes that each hold all of a weight still hold the same."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from ..errors import ProcessError
from ..processes import Processes
from .step import Player

BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of an entry


def refuse_drifted(players: Sequence[Player], step: int, processes: Processes) -> None:
    """Raise ProcessError, in every process that trains on rows of its own, where one's weights differ in any bit.

    What processes share out is in one of them only, and not looked at.
    """
    if processes.data.size == 1:
        return
    (_, first), *others = processes.data.gather((processes.world.rank, _sums(players)))
    for rank, own in others:
        if odd := [name for name, bits in first.items() if own[name] != bits]:
            raise ProcessError(
                f"step {step}: process {rank} no longer has the first one's weights: {len(odd)} of {len(first)} "
                f"tensors differ, {odd[0]} is one. They get the same gradients, so the machines step otherwise: "
                "processors of different kinds sum in another order, above all in C. Take machines of one kind, or "
                "--set update.compile=false in a new run. --resume goes on from the last checkpoint, which was whole."
            )


@torch.no_grad()
def _sums(players: Sequence[Player]) -> Mapping[str, int]:
    """By name the sum of each tensor's bits, read as integers. Waits for the device once."""
    whole = {
        f"player-{i}/" * (i > 0) + name: parameter
        for i, player in enumerate(players)
        for name, parameter in player.named_parameters.items()
        if not isinstance(parameter, DTensor)
    }
    return dict(zip(whole, torch.stack([_sum(p) for p in whole.values()]).tolist(), strict=True)) if whole else {}


def _sum(tensor: Tensor) -> Tensor:
    return tensor.view(BITS[tensor.element_size()]).sum(dtype=torch.int64)
