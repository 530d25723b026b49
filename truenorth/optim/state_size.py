"""How much an optimizer remembers of each parameter, found by asking it, and how much merging keeps beside it."""

from collections.abc import Iterable

import torch

from .merging import moments_alone
from .task_vector import size_of
from .units import RANKED
from .update import Update


def state_bytes(update: Update, numbers: Iterable[torch.Size], *, shared: bool = False) -> int:
    """Bytes of the state that `update`'s optimizer keeps for parameters of these shapes, in float32.

    One step is taken on a stand-in of 8 x 6 numbers. A tensor of its state with 48 numbers is taken to be as large as
    the parameter, one with 8 or 6 as long as that side, one with 16 or 12 twice as long. Merging may keep a copy of
    the weights besides, or a movement. `shared`: other processes hold the rest of each parameter, and `numbers` are
    shapes of what this one holds.

    >>> from truenorth.optim.update import AdamW
    >>> state_bytes(AdamW(), [torch.Size([100, 10])])
    8004
    """
    rows, columns = 8, 6
    stand_in = torch.nn.Parameter(torch.zeros(rows, columns))
    optimizer = update.replace(compile=False).build([stand_in])  # it keeps the same, and needs no compiler here
    stand_in.grad = torch.ones_like(stand_in)
    optimizer.step()
    kept = [x for x in optimizer.state[stand_in].values() if isinstance(x, torch.Tensor)]
    numbers, total = list(numbers), 0
    for shape in numbers:
        size = shape.numel()
        m, n = (size // shape[-1], shape[-1]) if shape else (1, 1)
        by_size = {rows * columns: size, rows: m, columns: n, 2 * rows: 2 * m, 2 * columns: 2 * n}
        total += sum(by_size.get(x.numel(), x.numel()) * x.element_size() for x in kept)
    rule = update.merging
    if rule is None or rule.idle:
        return total
    if not moments_alone(optimizer, rule):
        return total + 4 * sum(shape.numel() for shape in numbers)
    if rule.selection == "drawn":
        return total
    sizes = [shape.numel() for shape in numbers]
    together = min(RANKED, sum(sizes)) if shared else 0
    room = 4 if update.compile is False else 8  # bytes: of a movement, and in C of the magnitudes in a bracket
    return total + room * max([together, *sizes])  # of tensors in which the largest are sought at once


def task_bytes(update: Update, numbers: Iterable[torch.Size]) -> int:
    """Bytes of the task vector that `update` merges with, about; 0 where it does not."""
    rule = update.merging
    return 0 if rule is None or rule.idle else sum(size_of(rule, shape.numel()) for shape in numbers)
