"""Which rows each optimizer step trains on: a function of the seed and the step, so resuming needs only the step."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..errors import DataError
from .packing import PackedBatch, divide, pack, split_by_tokens
from .tokens import TokenizedRows


class Steps:
    """Rows in a fresh order each epoch, `batch_size` prompts a step. The last step takes what is left.

    `rows.shares` says how often an epoch takes each row: 0.5 every second time on average, 2 twice.
    Raises DataError if they take none.
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
        self.shares = rows.shares
        self._order = lru_cache(maxsize=2)(self._shuffled)
        self.epoch_length = len(self._order(0))  # the same in every epoch, see _shuffled
        if not self.epoch_length:
            raise DataError(
                f"the shares take no row of the {len(rows)}: the largest is {rows.shares.max():g}. "
                "Raise a source's share."
            )
        prompts = round((1.0 if epochs is None else epochs) * self.epoch_length)
        self.prompts = max(1, prompts) if max_steps is None else max_steps * batch_size
        self.count = -(-self.prompts // batch_size)

    def _shuffled(self, epoch: int) -> np.ndarray:
        """[epoch_length] the rows of one epoch, in its order."""
        draw = np.random.default_rng([self.seed, epoch])
        whole = np.floor(self.shares).astype(np.int64)
        repeated = np.repeat(np.arange(len(self.rows)), whole)
        parts = [repeated]
        for share in np.unique(self.shares - whole):  # of rows with one fractional share, that many
            if share > 0:
                group = np.flatnonzero(self.shares - whole == share)
                parts.append(draw.choice(group, round(float(share) * len(group)), replace=False))
        return draw.permutation(np.concatenate(parts))

    def indices(self, step: int) -> list[int]:
        """The rows of step `step`, 0-based."""
        first, last = step * self.batch_size, min((step + 1) * self.batch_size, self.prompts)
        places = (divmod(place, self.epoch_length) for place in range(first, last))
        return [int(self._order(epoch)[place]) for epoch, place in places]

    def used(self) -> list[int]:
        """Every row that some step takes, once."""
        epochs = range(-(-self.prompts // self.epoch_length))
        orders = [self._order(epoch)[: self.prompts - epoch * self.epoch_length] for epoch in epochs]
        return np.unique(np.concatenate(orders)).tolist()

    def batches(self, step: int, *, budget: int, part: int = 0, parts: int = 1) -> list[PackedBatch]:
        """The micro-batches of step `step`, of at most `budget` tokens each, the largest first.

        With several `parts` those of one of them. A step's rows do not depend on `parts`.
        """
        return batches(self.rows, self.indices(step), budget=budget, part=part, parts=parts)

    def largest(self, *, budget: int) -> PackedBatch:
        """A micro-batch as large as any of the run: the longest row, and whatever fills the budget best beside it."""
        used = np.asarray(self.used())
        by_length = used[np.argsort(-self.rows.lengths[used], kind="stable")]
        chosen, room = [int(by_length[0])], budget - int(self.rows.lengths[by_length[0]])
        alike = by_length[1:][self.rows.candidates[by_length[1:]] == self.rows.candidates[chosen[0]]]
        for i in alike.tolist():
            if len(chosen) < self.batch_size and self.rows.lengths[i] <= room:
                chosen.append(i)
                room -= int(self.rows.lengths[i])
        return pack([self.rows[i] for i in chosen], chosen)


def batches(
    rows: TokenizedRows, indices: Sequence[int], *, budget: int, part: int = 0, parts: int = 1
) -> list[PackedBatch]:
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
    packed = [pack([rows[indices[p]] for p in places], [indices[p] for p in places]) for places in splits[part]]
    if missing := max(map(len, splits)) - len(packed):
        shortest = indices[int(lengths.argmin())]
        packed += [replace(pack([rows[shortest]], [shortest]), filler=True)] * missing
    return packed
