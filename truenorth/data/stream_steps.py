"""The steps of a run whose rows come while it goes on: each row once, in order, as soon as a step's are there."""

import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .arrivals import Stopped
from .loader import batches, largest
from .packing import PackedBatch
from .stream import StreamedRows
from .tokens import Ends, TokenizedRows

ENDLESS = sys.maxsize  # steps of a stream whose end is not known


def of_all(count: int) -> str:
    """` of 40`; empty where the number of steps is not known.

    >>> of_all(40), of_all(ENDLESS)
    (' of 40', '')
    """
    return "" if count == ENDLESS else f" of {count}"


def sentence_of(batch_size: int) -> str:
    """What a run over a stream goes through, in words."""
    return f"Rows are trained on as they come, once and in order, {batch_size} to a step."


def unheard(sentence: str) -> None:
    """What replayed rows are told to: it was said when they came."""
    del sentence


class StreamSteps:
    """As `Steps`, of rows that come: step n has the rows from n * batch_size on. The last one takes what is left.

    Steps are asked for in their order; a run that goes on from step n takes the rows before it unseen.
    """

    def __init__(
        self,
        rows: StreamedRows,
        batch_size: int,
        *,
        ends: Ends | None = None,
        most: int | None = None,  # steps after which it is enough; None: all that come
        said: Callable[[str], None] = unheard,
    ) -> None:
        self.batch_size, self._rows, self._most, self._said = batch_size, rows, most, said
        self._ends: Ends | None = ends
        self._open: tuple[int, TokenizedRows] | None = None
        self._taken = 0  # steps whose rows were taken
        self._end: int | None = None  # the stream's number of steps, once it is known

    @property
    def sentence(self) -> str:
        """What the run goes through, in words."""
        return sentence_of(self.batch_size)

    @property
    def count(self) -> int:
        """How many steps there are, as far as is known."""
        known = [number for number in (self._end, self._most) if number is not None]
        return min(known, default=ENDLESS)

    @property
    def rows(self) -> TokenizedRows:
        """Those of the step that was asked for last."""
        assert self._open is not None, "a step was waited for"
        return self._open[1]

    def wait(self, step: int, stopped: Stopped) -> bool:
        """Whether the rows of step `step`, 0-based, have come; False where none will, or `stopped()` before."""
        while self._taken <= step:
            said = self._said if self._taken == step else unheard
            taken = self._rows.take(self.batch_size, stopped, said)
            if taken is None:
                return False
            if len(taken) < self.batch_size:
                self._end = self._taken + bool(taken)
            if not taken:
                return False
            rows = TokenizedRows.of(taken)
            self._open = self._taken, rows if self._ends is None else rows.read_at_ends(self._ends)
            self._taken += 1
        return True

    def batches(self, step: int, *, budget: int, part: int = 0, parts: int = 1) -> list[PackedBatch]:
        """The micro-batches of step `step`, the largest first, whose rows were waited for."""
        assert self._open is not None, "a step was waited for"
        assert self._open[0] == step, f"step {step} was asked for, and {self._open[0]} is open"
        return list(batches(self.rows, range(len(self.rows)), budget=budget, part=part, parts=parts))

    def used(self) -> npt.NDArray[np.int64]:
        """The rows that are there."""
        return np.arange(len(self.rows))

    def largest(self, *, budget: int) -> PackedBatch:
        """A micro-batch as large as any of the step that is open."""
        return largest(self.rows, self.used(), self.batch_size, budget=budget)
