"""Steps in one pass over a GPU's tensor: formulas that torch.compile makes kernels of, where a run asks for it.

torch's own operations go over a tensor once for each of them. A kernel rounds elsewhere than they do, so that its
numbers are theirs up to a few units of the last place; what is drawn is the same. On a CPU, `native` does this.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from ..errors import SettingsError
from . import compiled
from .rounding import add
from .rule import Rule

P = ParamSpec("P")
R = TypeVar("R")


class Drawn(NamedTuple):
    """What was drawn for the rows of a tensor: of each, a part of a circle."""

    circle: Tensor
    starts: Tensor  # [k] int64

    def of(self, rows: Tensor) -> Tensor:
        """[k, n / k] as `rows` are."""
        width = rows.shape[1]
        return self.circle.as_strided((len(self.circle) - width + 1, width), (1, 1))[self.starts]


def kernel(formula: Callable[P, R]) -> Callable[P, R]:
    """`formula` as one kernel for tensors of any size, made at its first call: some seconds, and once a machine.

    It has as many threads as torch, and holds Python's lock.
    """
    return _made(formula, torch.get_num_threads())


@cache
def _made(formula: Callable[P, R], threads: int) -> Callable[P, R]:
    return torch.compile(  # pyright: ignore[reportCallIssue]  -- its overloads lack recompile_limit
        formula, dynamic=True, fullgraph=True, recompile_limit=64, options={"cpp.threads": threads}
    )


def require_compiler(setting: str, device: torch.device) -> None:
    """Raise SettingsError where a step cannot be compiled: the only sure sign is to compile one."""
    if device.type == "cpu":
        compiled.library()
        return
    from torch._dynamo.exc import BackendCompilerFailed  # imports a compiler's front end, which takes a second

    try:
        kernel(torch.neg)(torch.zeros(2, device=device))
    except BackendCompilerFailed as failure:
        raise SettingsError(
            f"{setting} makes kernels with torch.compile, which failed: {str(failure).splitlines()[0].rstrip('.')}. "
            f"Install Triton, or leave {setting} out: the step is the same, and slower."
        ) from failure


def step_all(
    rule: Rule,
    rows: tuple[Tensor, Tensor, Tensor],
    kept: tuple[Drawn | None, Drawn | None],
    rounding: tuple[Drawn, Tensor] | None,
) -> None:
    """Move weights [k, n] by update and task vector, of which `kept` takes some entries. `rows`: all three."""
    (weights, update, task), (of_update, of_task) = rows, kept
    task = task.float()
    update = update if of_update is None else update * of_update.of(weights)
    task = task if of_task is None else task * of_task.of(weights)
    by = rule.combined(update, task)
    if rounding is None:
        weights.add_(by)
    else:
        add(weights, by, rounding[0].of(weights), rounding[1])


def step_kept(update: Tensor, share: float, weights: Tensor, kept: Tensor) -> None:
    """Move weights [n] by the update times `share` where `kept` [n] is 1."""
    weights.add_(update * kept * share)


def pull_some(share: float, weights: Tensor, places: Tensor, task: Tensor, noise: tuple[Tensor, Tensor]) -> None:
    """Move weights [n] at `places` [k] by the task vector's entries there, times `share`."""
    weights[places] = add(weights[places], task.float() * share, *noise)


def sums(apart: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of [k, m / k, n]: sums and sums of squares of rows [k, m / k], and of columns [k, n], in each of the k parts."""
    square = apart * apart
    return apart.sum(2), square.sum(2), apart.sum(1), square.sum(1)


def squares(gradient: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """The sum of squares of gradient * by_row[:, None] * by_column."""
    return ((gradient * by_column).square().sum(1) * by_row.square()).sum()


def step_factored(
    weights: Tensor, gradient: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], rate: Tensor
) -> None:
    """Move weights [m, n] by H-Fac's step; of rows and columns what gradients are multiplied by, and what is added."""
    (by_row, of_rows), (by_column, of_columns) = rows, columns
    update = (of_columns + gradient * by_row[:, None]) * by_column + of_rows[:, None]
    weights.sub_(update * rate)
