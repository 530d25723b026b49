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

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, overload

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.optim.adamw import adamw

from .master_weights import refuse_other_types
from .movement import ADAM, begin
from .passes import ByKernels, ByOperations, InC, Passes
from .shards import laid_by_rows, local, sharers_of
from .threads import side_by_side
from .update import ONE_PASS, Update

EMPTY = torch.empty(0)


class HFac(Update):
    """H-Fac (Nguyen et al. 2024, arXiv:2406.09958): Adam's memory for rows and columns instead of entries."""

    kind: ClassVar[str] = "hfac"
    by_rows: ClassVar[bool] = True
    has_kernels: ClassVar[bool] = True
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="decay of the first and second moment")
    epsilon: PositiveFloat = Field(default=1e-30, description="added to squared gradients")
    clip: PositiveFloat = Field(default=1.0, description="root mean square to which the normalised gradient is held")
    weight_decay: NonNegativeFloat = Field(
        default=0.0, description="share of a weight taken off per step, times learning rate"
    )

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return Factored(parameters, self)


@dataclass(slots=True)
class Matrix:
    """A step of one matrix, of which this process holds m rows. Columns and sums are those of the whole matrix."""

    weights: Tensor  # [m, n]
    gradient: Tensor  # [m, n]
    height: int  # rows of the whole matrix
    state: dict[str, Any]
    new: Tensor  # [2, 1] how much of the averages is new
    rows: Tensor = EMPTY  # [2, m] means and sums of squares of the gradient's rows
    columns: Tensor = EMPTY  # [2, n] of its columns
    total: Tensor = EMPTY  # [] of the average squares
    by_row: Tensor = EMPTY  # [m]
    by_column: Tensor = EMPTY  # [n]
    square: Tensor = EMPTY  # [] of the normalised gradient


class Factored(torch.optim.Optimizer):
    """The optimizer of `HFac`. Its state is 2 (m + n) numbers for a matrix of m x n, and 2 n for a vector.

    Raises SettingsError for parameters that are not float32, or of which a process holds no whole rows.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], asked: HFac) -> None:
        parameters = list(parameters)
        refuse_other_types("H-Fac's steps", parameters)
        super().__init__(parameters, {"lr": asked.learning_rate})
        self._sharers = sharers_of(parameters)
        self.asked = asked
        in_one = InC() if all(p.is_cpu for p in parameters) else ByKernels()
        self._passes: Passes = in_one if asked.compile else ByOperations()

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
            matrices = [p for p in moving if p.dim() > 1]
            if self._sharers.size > 1:
                self._step_matrices(matrices, group["lr"])
            else:
                steps = [partial(self._step_matrices, [matrix], group["lr"]) for matrix in matrices]
                side_by_side(steps, in_turn=bool(self.asked.compile))  # what is compiled has all threads
        return loss

    def _decays(self, step: int) -> tuple[float, float]:
        """What is kept of both averages at `step`, 1 and up: averages of what has been, without a start at zero."""
        first, second = (beta * (1 - beta ** (step - 1)) / (1 - beta**step) for beta in self.asked.betas)
        return first, second

    def _step_matrices(self, parameters: list[Tensor], rate: float) -> None:
        """All at once, where processes share them out: each sum over these takes its time, however short it is."""
        moving = [self._matrix(parameter) for parameter in parameters]
        for matrix in moving:
            self._count_rows(matrix)
        self._sum([part for matrix in moving for part in (matrix.columns, matrix.total)])
        for matrix in moving:
            self._count_columns(matrix)
        self._sum([matrix.square for matrix in moving])
        for matrix in moving:
            self._move(matrix, rate)

    def _sum(self, tensors: list[Tensor]) -> None:
        """Over the processes that share the matrices out, in place."""
        if tensors and self._sharers.size > 1:
            summed = self._sharers.sum(torch.cat([tensor.view(-1) for tensor in tensors]))
            for tensor, part in zip(tensors, summed.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def _matrix(self, parameter: Tensor) -> "Matrix":
        assert parameter.grad is not None
        state, n = self.state[parameter], parameter.shape[-1]
        weights, gradient = (local(x).view(-1, n) for x in (parameter, parameter.grad))
        if not state:
            state |= {"step": 0, "rows": _of_rows(parameter), "columns": weights.new_zeros(2, n)}  # means, squares
        state["rows"] = laid_by_rows(state["rows"], parameter)  # a checkpoint gives it whole
        state["step"] += 1
        new = 1 - torch.tensor([self._decays(state["step"])], device=weights.device).T
        return Matrix(weights, gradient, parameter.numel() // n, state, new)

    def _count_rows(self, matrix: "Matrix") -> None:
        matrix.rows, matrix.columns = self._passes.sums(matrix.gradient, self.asked.epsilon)
        _, r = local(matrix.state["rows"]).view(2, len(matrix.weights)).lerp_(matrix.rows, matrix.new)
        matrix.total = r.sum()

    def _count_columns(self, matrix: "Matrix") -> None:
        matrix.columns[0] /= matrix.height
        _, s = matrix.state["columns"].lerp_(matrix.columns, matrix.new)
        _, r = local(matrix.state["rows"]).view(2, len(matrix.weights))
        matrix.by_row, matrix.by_column = r.rsqrt() * matrix.total.sqrt(), s.rsqrt()  # 1 / sqrt(V), as two factors
        matrix.square = self._passes.squares(matrix.gradient, matrix.by_row, matrix.by_column)

    def _move(self, matrix: "Matrix", rate: float) -> None:
        p, by_row = matrix.weights, matrix.by_row
        (row_mean, r), column_mean = local(matrix.state["rows"]).view(2, len(p)), matrix.state["columns"][0]
        m, n = matrix.height, p.shape[1]
        of_rows = r.rsqrt().mul_(0.5 * n**0.5 * (row_mean - matrix.rows[0]))
        of_columns = 0.5 * m**0.5 * (column_mean - matrix.columns[0])  # yet to be multiplied by by_column
        by_row /= ((matrix.square / (m * n)).sqrt_() / self.asked.clip).clamp_(min=1)
        if self.asked.weight_decay:
            p.mul_(1 - rate * self.asked.weight_decay)
        rows, columns = (by_row, of_rows), (matrix.by_column, of_columns)
        self._passes.move(p.detach(), matrix.gradient, rows, columns, rate)

    def _step_vectors(self, vectors: list[Tensor], rate: float) -> None:
        """The step of torch's AdamW, of all at once."""
        fused = all(p.device.type in ONE_PASS for p in vectors)
        states = [self.state[p] for p in vectors]
        for p, state in zip(vectors, states, strict=True):
            begin(state, p, *ADAM, on_device=fused)
        first, second = self.asked.betas
        adamw(
            [local(p) for p in vectors],
            [local(p.grad) for p in vectors if p.grad is not None],
            [local(state["exp_avg"]) for state in states],
            [local(state["exp_avg_sq"]) for state in states],
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


def _of_rows(parameter: Tensor) -> Tensor:
    """Zeros, two for each row of a parameter, [2, ...], held where the rows are."""
    return laid_by_rows(torch.zeros(2, *parameter.shape[:-1], device=parameter.device), parameter)
