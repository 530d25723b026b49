"""How much an optimizer remembers of each parameter, found by asking it."""

from collections.abc import Iterable

import torch

from .update import Update


def state_bytes(update: Update, numbers: Iterable[torch.Size]) -> int:
    """Bytes of the state that `update`'s optimizer keeps for parameters of these shapes, in float32.

    One step is taken on a stand-in of 8 x 6 numbers; what is as large as it grows with the parameter, and what has a
    side of it with that side.

    >>> from truenorth.optim.update import AdamW
    >>> state_bytes(AdamW(), [torch.Size([100, 10])])
    8004
    """
    rows, columns = 8, 6
    stand_in = torch.nn.Parameter(torch.zeros(rows, columns))
    optimizer = update.build([stand_in])
    stand_in.grad = torch.ones_like(stand_in)
    optimizer.step()
    kept = [x for x in optimizer.state[stand_in].values() if isinstance(x, torch.Tensor)]
    total = 0
    for shape in numbers:
        size = shape.numel()
        by_size = {rows * columns: size, rows: size // shape[-1] if shape else 1, columns: shape[-1] if shape else 1}
        total += sum(by_size.get(x.numel(), x.numel()) * x.element_size() for x in kept)
    return total
