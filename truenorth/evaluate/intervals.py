"""How sure a number is: 95 % intervals for shares, means and paired differences."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

import numpy as np

from ..proportions import Z, wilson

RESAMPLES = 2000  # enough for the second digit of a 95 % bound
BLOCK = 2_000_000  # drawn indices held at once: 16 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    count: int  # what it was estimated from


def proportion(successes: float, n: int) -> Interval:
    """A share with Wilson's interval; halves (ties) are allowed among the successes.

    >>> p = proportion(8, 10)
    >>> round(p.low, 3), round(p.high, 3)
    (0.49, 0.943)
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"a proportion needs n > 0 and 0 <= successes <= n, got {successes} of {n}.")
    return Interval(successes / n, *wilson(successes, n), n)


def bootstrap_mean(values: Sequence[float], seed: int) -> Interval:
    """The percentile bootstrap of a mean. The same values and seed give the same bounds."""
    if not values:
        raise ValueError("the mean of no values has no interval: give at least one.")
    data = np.asarray(values, dtype=np.float64)
    if not np.isfinite(data).all():
        raise ValueError("bootstrap_mean needs finite values, got NaN or infinity among them.")
    low, high = _bounds(len(data), seed, lambda drawn: data[drawn].mean(axis=1))
    return Interval(float(data.mean()), low, high, len(data))


def paired_difference(before: Sequence[float], after: Sequence[float], seed: int) -> Interval:
    """The mean of after - before on the same prompts, with its interval: far narrower than that of two means."""
    if len(before) != len(after):
        raise ValueError(f"pairs need as many values before as after, got {len(before)} and {len(after)}.")
    return bootstrap_mean([b - a for a, b in zip(before, after, strict=True)], seed)


def difference(before: Sequence[float], after: Sequence[float]) -> Interval:
    """The mean of `after` less that of `before` on other prompts, with the normal interval of two means.

    Its count is that of the smaller side; of a single value on one side nothing is known, and the ends are infinite.

    >>> d = difference([0.0, 1.0, 0.0, 1.0], [1.0, 2.0, 1.0, 2.0])
    >>> d.value, round(d.low, 2), round(d.high, 2)
    (1.0, 0.2, 1.8)
    """
    sides, fewest = (before, after), min(len(before), len(after))
    if not fewest:
        raise ValueError("a difference of means needs a value on both sides.")
    value = fmean(after) - fmean(before)
    half = Z * math.sqrt(sum(variance(side) / len(side) for side in sides)) if fewest > 1 else math.inf
    return Interval(value, value - half, value + half, fewest)


def bootstrap_ratio(numerators: Sequence[float], denominators: Sequence[float], seed: int) -> Interval:
    """The percentile bootstrap of a ratio of sums, as nats per token over texts of many lengths.

    >>> bootstrap_ratio([2.0, 2.0], [1.0, 3.0], 0).value
    1.0
    """
    above, below = (np.asarray(values, dtype=np.float64) for values in (numerators, denominators))
    if above.shape != below.shape or not len(above) or not (below > 0).all():
        raise ValueError("a ratio of sums needs as many numerators as denominators, and those above 0.")
    low, high = _bounds(len(above), seed, lambda drawn: above[drawn].sum(axis=1) / below[drawn].sum(axis=1))
    return Interval(float(above.sum() / below.sum()), low, high, len(above))


def _bounds(count: int, seed: int, statistic: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """The middle 95 % of a statistic over resamples of `count` values: of places [R, count], a number for each row."""
    generator = np.random.default_rng(seed)
    rows = max(1, min(RESAMPLES, BLOCK // count))
    found: list[np.ndarray] = []
    for start in range(0, RESAMPLES, rows):
        found.append(statistic(generator.integers(0, count, (min(rows, RESAMPLES - start), count))))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)
