"""Numbers about prepared rows: lengths, what sharing prompts saves, and whether longer answers simply win."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..proportions import wilson
from .problems import Account
from .tokens import TokenizedRows

Integers = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Quantiles of lengths in tokens."""

    count: int
    mean: float
    least: int
    p05: float
    median: float
    p95: float
    p99: float
    most: int

    @classmethod
    def of(cls, tokens: Integers) -> "Lengths | None":
        """None where there is nothing to count."""
        if not len(tokens):
            return None
        p05, median, p95, p99 = (float(q) for q in np.quantile(tokens, [0.05, 0.5, 0.95, 0.99]))
        return cls(len(tokens), float(tokens.mean()), int(tokens.min()), p05, median, p95, p99, int(tokens.max()))


@dataclass(frozen=True, slots=True)
class LengthBias:
    """How often the best answer is longer than the worst, over rows where their lengths differ."""

    pairs: int  # rows with at least two answers
    longer: int  # whose best answer is longer than the worst
    shorter: int  # whose best answer is shorter
    share: float  # longer / (longer + shorter)
    low: float  # of the share's 95 % interval (Wilson)
    high: float
    accuracy: float  # of the judge that says "the longer one", equal lengths counted as half


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the prepared rows are like."""

    rows: int
    candidates: dict[str, int]  # K -> rows
    prompt: Lengths | None
    chosen: Lengths | None  # the best answers
    rejected: Lengths | None  # all others
    tokens: int  # with each prompt once
    tokens_unshared: int  # with each prompt once per answer
    tokens_saved: float  # share of the unshared ones, in [0, 1)
    length_bias: LengthBias | None  # None where no row has two answers
    duplicates: float  # share of the rows read

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The statistics that `to_dict` wrote."""
        values = dict(data)
        for name in ("prompt", "chosen", "rejected"):
            values[name] = None if data[name] is None else Lengths(**data[name])
        values["length_bias"] = None if data["length_bias"] is None else LengthBias(**data["length_bias"])
        return cls(**values)


def statistics_of(rows: TokenizedRows, account: Account) -> Statistics:
    """Statistics of prepared rows; `account` knows how many duplicates were read."""
    k, first = rows.candidates, rows.first[:-1]
    is_best = np.zeros(len(rows.response_lengths), dtype=bool)
    is_best[first] = True
    shared = int(rows.lengths.sum())
    unshared = shared + int((rows.prompt_lengths * (k * (1 + rows.degraded) - 1)).sum())
    duplicates = account.reasons.get("duplicate")
    values, counts = np.unique(k, return_counts=True)
    return Statistics(
        rows=len(rows),
        candidates={str(value): int(count) for value, count in zip(values, counts, strict=True)},
        prompt=Lengths.of(rows.prompt_lengths),
        chosen=Lengths.of(rows.response_lengths[is_best]),
        rejected=Lengths.of(rows.response_lengths[~is_best]),
        tokens=shared,
        tokens_unshared=unshared,
        tokens_saved=1 - shared / unshared if unshared else 0.0,
        length_bias=length_bias(rows),
        duplicates=duplicates.count / account.read if duplicates and account.read else 0.0,
    )


def length_bias(rows: TokenizedRows) -> LengthBias | None:
    """Best against worst answer of each row; None where no row has two."""
    several = np.flatnonzero(rows.candidates > 1)
    if not len(several):
        return None
    best, worst = rows.response_lengths[rows.first[several]], rows.response_lengths[rows.first[several + 1] - 1]
    longer, shorter, pairs = int((best > worst).sum()), int((best < worst).sum()), len(several)
    low, high = wilson(longer, longer + shorter)
    share = longer / (longer + shorter) if longer + shorter else 0.5
    accuracy = (longer + 0.5 * (pairs - longer - shorter)) / pairs
    return LengthBias(pairs, longer, shorter, share, low, high, accuracy)
