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

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, overload

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim.adamw import adamw

from ..errors import SettingsError
from .movement import begin
from .update import NEEDS_WHOLE, ONE_PASS, Update

AT_ONCE = 2**18  # entries, so that a block stays in the processor's cache between passes
ON_A_GPU = 2**26  # where each kernel costs a launch


class HFac(Update):
    """H-Fac (Nguyen et al. 2024, arXiv:2406.09958): Adam's memory for rows and columns instead of entries."""

    kind: ClassVar[str] = "hfac"
    whole: ClassVar[bool] = True
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
            raise SettingsError(NEEDS_WHOLE.format(kind=asked.kind))
        super().__init__(parameters, {"lr": asked.learning_rate})
        self.asked = asked
        self._spare = torch.empty(0)  # for a block: memory that is new takes longer to touch than to compute with

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moving = [p for p in group["params"] if p.grad is not None]
            if vectors := [p for p in moving if p.dim() < 2]:
                self._step_vectors(vectors, group["lr"])
            for parameter in (p for p in moving if p.dim() > 1):
                self._step_matrix(parameter, group["lr"])
        return loss

    def _decays(self, step: int) -> tuple[float, float]:
        """What is kept of both averages at `step`, 1 and up: averages of what has been, without a start at zero."""
        first, second = (beta * (1 - beta ** (step - 1)) / (1 - beta**step) for beta in self.asked.betas)
        return first, second

    def _step_matrix(self, parameter: Tensor, rate: float) -> None:
        assert parameter.grad is not None
        p, gradient = (x.view(-1, parameter.shape[-1]) for x in (parameter.data, parameter.grad))
        m, n = p.shape
        state = self.state[parameter]
        if not state:
            state |= {"step": 0, "rows": p.new_zeros(2, m), "columns": p.new_zeros(2, n)}  # means and squares of each
        state["step"] += 1
        spare = self._spare_for(gradient)
        found = _statistics(gradient, self.asked.epsilon, spare)
        new = 1 - torch.tensor([self._decays(state["step"])], device=p.device).T
        (row_mean, r), (column_mean, s) = (
            state[name].lerp_(now, new) for name, now in zip(("rows", "columns"), found, strict=True)
        )
        by_row, by_column = r.rsqrt() * r.sum().sqrt(), s.rsqrt()  # 1 / sqrt(V), as two factors
        of_rows = r.rsqrt().mul_(0.5 * n**0.5 * (row_mean - found[0][0]))
        of_columns = 0.5 * m**0.5 * (column_mean - found[1][0])  # yet to be multiplied by by_column
        by_row /= (_rms(gradient, by_row, by_column, spare) / self.asked.clip).clamp_(min=1)
        if self.asked.weight_decay:
            p.mul_(1 - rate * self.asked.weight_decay)
        for c in _blocks(p):
            own = p[c]
            update = torch.addcmul(of_columns, gradient[c], by_row[c, None], out=spare[: len(own)])
            own.addcmul_(update, by_column, value=-rate).add_(of_rows[c, None], alpha=-rate)

    def _spare_for(self, matrix: Tensor) -> Tensor:
        """As large as its blocks."""
        rows = min(_rows(matrix), matrix.shape[0])
        if self._spare.numel() < rows * matrix.shape[1] or self._spare.device != matrix.device:
            self._spare = torch.empty(rows * matrix.shape[1], device=matrix.device)
        return self._spare[: rows * matrix.shape[1]].view(rows, -1)

    def _step_vectors(self, vectors: list[Tensor], rate: float) -> None:
        """The step of torch's AdamW, of all at once."""
        fused = all(p.device.type in ONE_PASS for p in vectors)
        states = [self.state[p] for p in vectors]
        for p, state in zip(vectors, states, strict=True):
            begin(state, p, on_device=fused)
        first, second = self.asked.betas
        adamw(
            vectors,
            [p.grad for p in vectors if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=fused,
            amsgrad=False,
            beta1=first,
            beta2=second,
            lr=rate,
            weight_decay=self.asked.weight_decay,
            eps=self.asked.epsilon**0.5,
            maximize=False,
        )


def _rows(matrix: Tensor) -> int:
    """How many rows are worked on together."""
    return max(1, (ON_A_GPU if matrix.is_cuda else AT_ONCE) // matrix.shape[1])


def _blocks(matrix: Tensor) -> Iterator[slice]:
    rows = _rows(matrix)
    yield from (slice(i, min(i + rows, matrix.shape[0])) for i in range(0, matrix.shape[0], rows))


def _statistics(gradient: Tensor, epsilon: float, spare: Tensor) -> tuple[Tensor, Tensor]:
    """Of [m, n]: of its rows [2, m] and columns [2, n] the means, and the sums of squares plus epsilon each."""
    m, n = gradient.shape
    rows, columns = gradient.new_empty(2, m), gradient.new_zeros(2, n)
    ones = gradient.new_ones(max(m, n))
    for c in _blocks(gradient):  # products with a vector are the fastest sums
        block, of_block = gradient[c], ones[: c.stop - c.start]
        square = torch.mul(block, block, out=spare[: c.stop - c.start])
        for of_rows, of_columns, values in zip(rows, columns, (block, square), strict=True):
            torch.mv(values, ones[:n], out=of_rows[c])
            of_columns.addmv_(values.T, of_block)
    rows[0] /= n
    columns[0] /= m
    rows[1] += n * epsilon
    columns[1] += m * epsilon
    return rows, columns


def _rms(gradient: Tensor, by_row: Tensor, by_column: Tensor, spare: Tensor) -> Tensor:
    """The root mean square of gradient * by_row[:, None] * by_column."""
    rows, columns, total = by_row.square(), by_column.square(), gradient.new_zeros(())
    for c in _blocks(gradient):
        square = torch.square(gradient[c], out=spare[: c.stop - c.start])
        total += torch.dot(rows[c], square @ columns)
    return (total / gradient.numel()).sqrt_()
