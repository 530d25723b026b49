"""Which rows each optimizer step trains on: a function of the seed and the step, so resuming needs only the step."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .ends import pack_ends
from .packing import PackedBatch, divide, pack, split_by_tokens
from .tokens import TokenizedRows

Indices = Sequence[int] | npt.NDArray[np.int64]  # places of rows in the data


class StepSource(Protocol):
    """What a training loop asks: how many steps there are, and the rows of each."""

    @property
    def count(self) -> int:
        """How many there are, as far as is known."""
        ...

    @property
    def rows(self) -> TokenizedRows:
        """Those that the micro-batches' `rows` are places in."""
        ...

    def batches(self, step: int, *, budget: int, part: int = 0, parts: int = 1) -> list[PackedBatch]:
        """The micro-batches of step `step`, 0-based, of at most `budget` tokens each: one of several parts of them."""
        ...


class PlannedSteps(StepSource, Protocol):
    """Steps whose rows are all there before the first one is taken."""

    batch_size: int  # most prompts that go through the policy before their gradients are used

    @property
    def sentence(self) -> str:
        """What the run goes through, in words."""
        ...

    def used(self) -> npt.NDArray[np.int64]:
        """Every row that some step takes, once, in the order of the data."""
        ...

    def largest(self, *, budget: int) -> PackedBatch:
        """A micro-batch as large as any of the run."""
        ...


class Passes:
    """Rows again and again, each pass over them in a fresh order.

    `shares` says how often a pass takes each row: 0.5 every second time on average, 2 twice. The order of a pass is a
    function of `seed`, its number and `stream`, so that sets of rows with a stream each have orders of their own.
    """

    def __init__(self, shares: npt.NDArray[np.float64], *, seed: int, stream: int = 0) -> None:
        self.shares, self.seed, self.stream = shares, seed, stream
        self._order = lru_cache(maxsize=2)(self._shuffled)
        self.length = len(self._order(0))  # the same in every pass

    def _shuffled(self, number: int) -> npt.NDArray[np.int64]:
        """[length] the places of one pass, in its order."""
        draw = np.random.default_rng([self.seed, number, self.stream])
        whole = np.floor(self.shares).astype(np.int64)
        repeated = np.repeat(np.arange(len(self.shares)), whole)
        parts = [repeated]
        for share in np.unique(self.shares - whole):  # of rows with one fractional share, that many
            if share > 0:
                group = np.flatnonzero(self.shares - whole == share)
                parts.append(draw.choice(group, round(float(share) * len(group)), replace=False))
        return draw.permutation(np.concatenate(parts))

    def taken(self, first: int, last: int) -> list[int]:
        """The rows from the `first` one that is taken up to the `last`, not included."""
        places = (divmod(place, self.length) for place in range(first, last))
        return [int(self._order(number)[place]) for number, place in places]

    def used(self, last: int) -> npt.NDArray[np.int64]:
        """Every row among the first `last` that are taken, once, in the order of the data."""
        taken = np.zeros(len(self.shares), np.bool_)
        for number in range(-(-last // self.length)):
            taken[self._order(number)[: last - number * self.length]] = True
            if taken.all():
                break
        return np.flatnonzero(taken)


class Steps:
    """Rows in a fresh order each epoch, `batch_size` prompts a step. The last step takes what is left.

    `rows.shares` says how often an epoch takes each row. Raises DataError if they take none.
    """

    def __init__(
        self,
        rows: TokenizedRows,
        batch_size: int,
        *,
        seed: int = 0,
        epochs: float | None = None,
        max_steps: int | None = None,
    ) -> None:
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self._passes = Passes(rows.shares, seed=seed)
        self.epoch_length = self._passes.length
        if not self.epoch_length:
            raise DataError(
                f"the shares take no row of the {len(rows)}: the largest is {rows.shares.max():g}. "
                "Raise a source's share."
            )
        prompts = round((1.0 if epochs is None else epochs) * self.epoch_length)
        self.prompts = max(1, prompts) if max_steps is None else max_steps * batch_size
        self.count = -(-self.prompts // batch_size)

    @property
    def sentence(self) -> str:
        rows, steps = len(self.rows), self.count
        return (
            f"{rows:,} row{'s' * (rows > 1)}, {steps:,} step{'s' * (steps > 1)} of {self.batch_size} "
            f"prompt{'s' * (self.batch_size > 1)}."
        )

    def indices(self, step: int) -> list[int]:
        """The rows of step `step`, 0-based."""
        return self._passes.taken(step * self.batch_size, min((step + 1) * self.batch_size, self.prompts))

    def used(self) -> npt.NDArray[np.int64]:
        """Every row that some step takes, once, in the order of the data."""
        return self._passes.used(self.prompts)

    def batches(self, step: int, *, budget: int, part: int = 0, parts: int = 1) -> list[PackedBatch]:
        """The micro-batches of step `step`, of at most `budget` tokens each, the largest first.

        With several `parts` those of one of them. A step's rows do not depend on `parts`.
        """
        return list(batches(self.rows, self.indices(step), budget=budget, part=part, parts=parts))

    def largest(self, *, budget: int) -> PackedBatch:
        """A micro-batch as large as any of the run: the longest row, and whatever fills the budget best beside it."""
        return largest(self.rows, self.used(), self.batch_size, budget=budget)


def largest(rows: TokenizedRows, used: npt.NDArray[np.int64], most: int, *, budget: int) -> PackedBatch:
    """Of the rows `used`, up to `most`: the longest one, and whatever fills the budget best beside it."""
    chosen = fullest(rows.lengths[used], rows.candidates[used], most, budget=budget)
    return packed(rows, used[chosen].tolist())


def fullest(
    lengths: npt.NDArray[np.integer], candidates: npt.NDArray[np.integer], most: int, *, budget: int
) -> list[int]:
    """Places of the longest row and of up to `most` - 1 others of its K, which fill the budget best beside it.

    >>> fullest(np.array([4, 9, 3, 8, 5]), np.full(5, 2), 3, budget=18)
    [1, 3]
    """
    by_length = np.argsort(-lengths, kind="stable")
    alike = by_length[candidates[by_length] == candidates[by_length[0]]]
    falling = -lengths[alike]
    chosen, at, room = list[int](), 0, budget
    while at < len(alike) and len(chosen) < most:
        chosen.append(int(alike[at]))
        room += int(falling[at])
        at = max(at + 1, int(np.searchsorted(falling, -room)))  # the next one that fits, the longest of them
    return chosen


def packed(rows: TokenizedRows, places: Sequence[int]) -> PackedBatch:
    """The rows at `places` as one micro-batch, laid out as they are read."""
    taken = [rows[i] for i in places]
    return pack(taken, places) if rows.ends is None else pack_ends(taken, places, rows.ends)


def batches(
    rows: TokenizedRows, indices: Sequence[int], *, budget: int, part: int = 0, parts: int = 1
) -> Iterator[PackedBatch]:
    """`indices` of `rows`, packed into micro-batches of at most `budget` tokens, the largest first.

    With several `parts` the share of one of them. Shares have about as many tokens each, and the same number of
    micro-batches, since processes wait for each other in each: what is missing is filled with the shortest row.
    """
    lengths, candidates = rows.lengths[np.asarray(indices)], rows.candidates[np.asarray(indices)]
    shares = divide(lengths.tolist(), parts) if parts > 1 else [list(range(len(indices)))]
    splits = [
        [[share[p] for p in places] for places in split_by_tokens(long.tolist(), many.tolist(), budget)]
        for share, long, many in ((share, lengths[share], candidates[share]) for share in shares)
    ]
    for places in splits[part]:
        yield packed(rows, [indices[p] for p in places])
    for _ in range(max(map(len, splits)) - len(splits[part])):
        shortest = indices[int(lengths.argmin())]
        yield replace(packed(rows, [shortest]), filler=True)
