"""How long rows are, without their tokens: read from prepared rows, or made up from three numbers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .loader import fullest
from .packing import Layout
from .tokens import TokenizedRows

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RowLengths:
    """Tokens of R rows."""

    prompts: Integers  # [R]
    responses: Integers  # [sum of K], row after row
    candidates: Integers  # [R], K

    @classmethod
    def of(cls, rows: TokenizedRows) -> "RowLengths":
        """Degraded versions count as responses as long as those that they were made from: they are hardly longer."""
        versions = 1 + rows.degraded
        lengths = (rows.prompt_lengths, np.repeat(rows.response_lengths, versions), rows.candidates * versions)
        return cls(*(each.astype(np.int64) for each in lengths))

    @classmethod
    def alike(cls, rows: int, *, prompt: int, response: int, candidates: int) -> "RowLengths":
        """`rows` rows of one shape."""
        k = np.full(rows, candidates, np.int64)
        return cls(np.full(rows, prompt, np.int64), np.full(rows * candidates, response, np.int64), k)

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def totals(self) -> Integers:
        """[R] tokens of each row, its prompt once."""
        return self.prompts + np.add.reduceat(self.responses, self._first)

    @property
    def saved(self) -> int:
        """Tokens that sharing saves in one pass: all but the first of each row's K copies of its prompt.

        >>> RowLengths.alike(10, prompt=100, response=50, candidates=4).saved
        3000
        """
        return int(((self.candidates - 1) * self.prompts).sum())

    def largest(self, *, budget: int, batch_size: int) -> Layout:
        """The layout of a micro-batch as large as any: the longest row, and what fills the budget best beside it."""
        chosen, first = fullest(self.totals, self.candidates, batch_size, budget=budget), self._first
        responses = (self.responses[first[i] : first[i] + self.candidates[i]] - 1 for i in chosen)
        return Layout(tuple(int(self.prompts[i]) for i in chosen), tuple(tuple(r.tolist()) for r in responses))

    @property
    def _first(self) -> Integers:
        return np.cumsum(self.candidates) - self.candidates
