"""How much an optimizer remembers of each parameter, found by asking it, and how much merging keeps beside it."""

from collections.abc import Iterable

import torch

from .merging import moments_alone
from .task_vector import size_of
from .update import Update


def state_bytes(update: Update, numbers: Iterable[torch.Size]) -> int:
    """Bytes of the state that `update`'s optimizer keeps for parameters of these shapes, in float32.

    One step is taken on a stand-in of 8 x 6 numbers; what is as large as it grows with the parameter, and what has a
    side of it with that side. Merging may keep a copy of the weights besides.

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
    rule = update.merging
    copies = rule is not None and not rule.idle and not moments_alone(optimizer, rule)
    return total + copies * sum(4 * shape.numel() for shape in numbers)


def task_bytes(update: Update, numbers: Iterable[torch.Size]) -> int:
    """Bytes of the task vector that `update` merges with, about; 0 where it does not."""
    rule = update.merging
    return 0 if rule is None or rule.idle else sum(size_of(rule, shape.numel()) for shape in numbers)
