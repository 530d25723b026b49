"""H-Fac: Adam's two moments, both factored into what rows and columns have in common.

Paper    Nguyen et al. 2024, arXiv:2406.09958
Update   of a matrix with m rows, n columns and gradient G:
         0.5 * ( (u - G's row means) / sqrt(r / n) + (v - G's column means) / sqrt(s / m) )
             + clip( G / sqrt(r s^T / sum r) ),     clip(U) = U / max(1, RMS(U) / threshold),
         u, v averages over time of G's means of rows and columns, r, s of the sums of G^2 + epsilon
Differs  Reconstructed: the formula was read in a restatement, the paper and its settings were not. Here u and v are
         those after this step, (u - mean) = beta1 * (u before - mean). Vectors are Adam's, on which the factors say
         nothing; tensors of three sides and more are matrices of all but the last. Ours: epsilon, threshold, decay.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, overload

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.distributed.tensor import DTensor

from ..errors import SettingsError
from .update import Update

AT_ONCE = 2**18  # entries, so that a block stays in the processor's cache between passes
ON_A_GPU = 2**26  # where each kernel costs a launch


class HFac(Update):
    """H-Fac (Nguyen et al. 2024, arXiv:2406.09958): Adam's memory for rows and columns instead of entries."""

    kind: ClassVar[str] = "hfac"
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="decay of the first and second moment")
    epsilon: PositiveFloat = Field(default=1e-30, description="added to squared gradients")
    clip: PositiveFloat = Field(default=1.0, description="root mean square to which the normalised gradient is held")
    weight_decay: NonNegativeFloat = Field(
        default=0.0, description="share of a weight taken off per step, times learning rate"
    )

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return Factored(parameters, self)


class Factored(torch.optim.Optimizer):
    """The optimizer of `HFac`. Its state is 2 (m + n) numbers for a matrix of m x n, and 2 n for a vector.

    Raises SettingsError for parameters that are shared out: a process would see the means of its own rows only.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], asked: HFac) -> None:
        parameters = list(parameters)
        if any(isinstance(p, DTensor) for p in parameters):
            raise SettingsError(
                "hfac needs whole parameters, and --layout fsdp or tensor shares them out. Use --layout data, or "
                "another update, for instance --set update.kind=adamw."
            )
        super().__init__(parameters, {"lr": asked.learning_rate})
        self.asked = asked

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in (p for p in group["params"] if p.grad is not None):
                take = self._step_matrix if parameter.dim() > 1 else self._step_vector
                take(parameter, group["lr"])
        return loss

    def _state_of(self, parameter: Tensor, **sizes: int | torch.Size) -> dict[str, Any]:
        """The parameter's state, zeros at first, with this step counted."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            state |= {name: torch.zeros(size, device=parameter.device) for name, size in sizes.items()}
        state["step"] += 1
        return state

    def _decays(self, step: int) -> tuple[float, float]:
        """What is kept of both averages at `step`, 1 and up: averages of what has been, without a start at zero."""
        first, second = (beta * (1 - beta ** (step - 1)) / (1 - beta**step) for beta in self.asked.betas)
        return first, second

    def _step_matrix(self, parameter: Tensor, rate: float) -> None:
        assert parameter.grad is not None
        columns = parameter.shape[-1]
        p, gradient = (x.view(-1, columns) for x in (parameter.data, parameter.grad))
        rows = p.shape[0]
        state = self._state_of(parameter, row_mean=rows, row_square=rows, column_mean=columns, column_square=columns)
        first, second = self._decays(state["step"])
        means, squares = _statistics(gradient, self.asked.epsilon)
        for name, found, kept in (
            ("row_mean", means[0], first),
            ("column_mean", means[1], first),
            ("row_square", squares[0], second),
            ("column_square", squares[1], second),
        ):
            state[name].mul_(kept).add_(found, alpha=1 - kept)
        r, s = state["row_square"], state["column_square"]
        by_row, by_column = r.rsqrt() * r.sum().sqrt(), s.rsqrt()  # 1 / sqrt(V), as two factors
        of_rows = 0.5 * (state["row_mean"] - means[0]) / (r / columns).sqrt()
        of_columns = 0.5 * (state["column_mean"] - means[1]) / (s / rows).sqrt()
        by_row = by_row / (_rms(gradient, by_row, by_column) / self.asked.clip).clamp(min=1)
        for c in _blocks(p):
            update = (gradient[c] * by_row[c, None]).mul_(by_column).add_(of_rows[c, None]).add_(of_columns)
            if self.asked.weight_decay:
                update.add_(p[c], alpha=self.asked.weight_decay)
            p[c].add_(update, alpha=-rate)

    def _step_vector(self, p: Tensor, rate: float) -> None:
        """Adam's step, with averages over time like the matrices'."""
        assert p.grad is not None
        state = self._state_of(p, mean=p.shape, square=p.shape)
        first, second = self._decays(state["step"])
        state["mean"].mul_(first).add_(p.grad, alpha=1 - first)
        state["square"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
        p.mul_(1 - rate * self.asked.weight_decay)
        p.addcdiv_(state["mean"], (state["square"] + self.asked.epsilon).sqrt_(), value=-rate)


def _blocks(matrix: Tensor) -> Iterator[slice]:
    """Rows that are worked on together."""
    rows = max(1, (ON_A_GPU if matrix.is_cuda else AT_ONCE) // matrix.shape[1])
    yield from (slice(i, i + rows) for i in range(0, matrix.shape[0], rows))


def _statistics(gradient: Tensor, epsilon: float) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Of [m, n]: the means of its rows [m] and columns [n], and the sums of its squares, plus epsilon each."""
    m, n = gradient.shape
    row_means, row_squares = (torch.empty(m, device=gradient.device) for _ in range(2))
    column_means, column_squares = (torch.zeros(n, device=gradient.device) for _ in range(2))
    for c in _blocks(gradient):
        block = gradient[c]
        row_means[c] = block.mean(1)
        column_means += block.sum(0)
        square = block.square()
        row_squares[c] = square.sum(1)
        column_squares += square.sum(0)
    return (row_means, column_means / m), (row_squares + n * epsilon, column_squares + m * epsilon)


def _rms(gradient: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """The root mean square of gradient * by_row[:, None] * by_column."""
    total = torch.zeros((), device=gradient.device)
    for c in _blocks(gradient):
        total += torch.dot(by_row[c].square(), gradient[c].square() @ by_column.square())
    return (total / math.prod(gradient.shape)).sqrt()
