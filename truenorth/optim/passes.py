"""H-Fac's passes over a matrix: its sums, a norm, the move. By torch's operations, or each in one pass over it."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from . import kernels, native
from .kernels import kernel
from .threads import Spare

AT_ONCE = 2**18  # entries, so that a block stays in the processor's cache between operations
ON_A_GPU = 2**26  # where each kernel costs a launch
PARTS = 32  # of a matrix whose columns a kernel sums side by side: one part alone would not fill a thread's time


Pair = tuple[Tensor, Tensor]


class Passes(Protocol):
    def sums(self, gradient: Tensor, epsilon: float) -> Pair:
        """Of [m, n]: means of rows [2, m], sums of columns [2, n], each beside sums of squares plus epsilon."""
        ...

    def squares(self, gradient: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
        """[] the sum of squares of gradient * by_row[:, None] * by_column."""
        ...

    def move(self, weights: Tensor, gradient: Tensor, rows: Pair, columns: Pair, rate: float) -> None:
        """Subtract ((of_columns + gradient * by_row[:, None]) * by_column + of_rows[:, None]) * rate.

        `rows` and `columns`: what gradients are multiplied by, and what is added.
        """
        ...


class ByOperations:
    """Block by block."""

    def __init__(self) -> None:
        self._spare = Spare()

    def sums(self, gradient: Tensor, epsilon: float) -> Pair:
        (m, n), spare = gradient.shape, self._spare_for(gradient)
        rows, columns = gradient.new_empty(2, m), gradient.new_zeros(2, n)
        ones = gradient.new_ones(max(m, n))
        for c in _blocks(gradient):  # products with a vector are the fastest sums
            block, of_block = gradient[c], ones[: c.stop - c.start]
            square = torch.mul(block, block, out=spare[: c.stop - c.start])
            for of_rows, of_columns, values in zip(rows, columns, (block, square), strict=True):
                torch.mv(values, ones[:n], out=of_rows[c])
                of_columns.addmv_(values.T, of_block)
        rows[0] /= n
        rows[1] += n * epsilon
        columns[1] += m * epsilon
        return rows, columns

    def squares(self, gradient: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
        rows, columns, total = by_row.square(), by_column.square(), gradient.new_zeros(())
        spare = self._spare_for(gradient)
        for c in _blocks(gradient):
            square = torch.square(gradient[c], out=spare[: c.stop - c.start])
            total += torch.dot(rows[c], square @ columns)
        return total

    def move(self, weights: Tensor, gradient: Tensor, rows: Pair, columns: Pair, rate: float) -> None:
        (by_row, of_rows), (by_column, of_columns), spare = rows, columns, self._spare_for(gradient)
        for c in _blocks(weights):
            own = weights[c]
            update = torch.addcmul(of_columns, gradient[c], by_row[c, None], out=spare[: len(own)])
            own.addcmul_(update, by_column, value=-rate).add_(of_rows[c, None], alpha=-rate)

    def _spare_for(self, matrix: Tensor) -> Tensor:
        """As large as its blocks."""
        rows, width = min(_rows(matrix), matrix.shape[0]), matrix.shape[1]
        return self._spare(rows * width, matrix.device)[: rows * width].view(rows, width)


class ByKernels:
    """By those that torch.compile makes: on a GPU."""

    def sums(self, gradient: Tensor, epsilon: float) -> Pair:
        m, n = gradient.shape
        apart = gradient.view(PARTS if m % PARTS == 0 else 1, -1, n)
        of_rows, row_squares, of_columns, column_squares = kernel(kernels.sums)(apart)
        rows = torch.stack((of_rows.view(m) / n, row_squares.view(m) + n * epsilon))
        return rows, torch.stack((of_columns.sum(0), column_squares.sum(0) + m * epsilon))

    def squares(self, gradient: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
        return kernel(kernels.squares)(gradient, by_row, by_column)

    def move(self, weights: Tensor, gradient: Tensor, rows: Pair, columns: Pair, rate: float) -> None:
        kernel(kernels.step_factored)(weights.detach(), gradient, rows, columns, torch.tensor(rate))


class InC:
    """By `factored.c`: on a CPU."""

    def sums(self, gradient: Tensor, epsilon: float) -> Pair:
        return native.sums(gradient.contiguous(), epsilon)

    def squares(self, gradient: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
        return native.squares(gradient.contiguous(), by_row, by_column)

    def move(self, weights: Tensor, gradient: Tensor, rows: Pair, columns: Pair, rate: float) -> None:
        lying = weights.contiguous()  # itself, but where it is the transpose of what lies in memory
        native.step_factored(lying, gradient.contiguous(), rows, columns, rate)
        if lying is not weights:
            weights.copy_(lying)


def _rows(matrix: Tensor) -> int:
    """How many rows are worked on together."""
    return max(1, (ON_A_GPU if matrix.is_cuda else AT_ONCE) // matrix.shape[1])


def _blocks(matrix: Tensor) -> Iterator[slice]:
    rows = _rows(matrix)
    yield from (slice(i, min(i + rows, matrix.shape[0])) for i in range(0, matrix.shape[0], rows))
