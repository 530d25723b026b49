"""Rows of files, all there before the first step."""

from typing import Self

from ..data.loader import Steps
from ..data.prepare import Prepared
from ..data.tokens import TokenizedRows
from ..run import Run
from .feed import Feed, Ready


class Stored(Feed):
    """The rows that are given."""

    def __init__(self, ready: Ready, rows: Prepared) -> None:
        super().__init__(ready)
        self.rows, self.steps = rows, steps_of(ready.run, rows.rows)

    @classmethod
    def of(cls, ready: Ready) -> Self:
        """Raises DataError where the rows' shares take none."""
        assert ready.given is not None, "a run refuses a method without rows"
        return cls(ready, ready.given)


def steps_of(run: Run, rows: TokenizedRows) -> Steps:
    """The steps of a run through rows that are all there. Raises DataError where their shares take none."""
    return Steps(rows, run.batch_size, seed=run.seed, epochs=run.epochs, max_steps=run.max_steps)
