"""Find shares in [0, 1], with a given mean or without: uphill along a gradient, or by trying where there is none.

Either goes only where the value rises, so that what is found is never worse than where it started.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

LEAST = 1e-6  # rise of the value that counts: less is rounding
FINEST = 1e-3  # of a share: smaller moves are not looked at


@dataclass(frozen=True, slots=True)
class Found:
    """The best shares, their value, that of the first shares, and how many were looked at."""

    shares: tuple[float, ...]
    value: float
    at_start: float
    tried: int


def project(shares: Sequence[float], mean: float | None) -> list[float]:
    """The nearest shares in [0, 1] that have this mean; None: whatever theirs is.

    For a mean all are moved by one amount, and those that leave [0, 1] are held at its ends.

    >>> project([0.5, 0.5], 0.25), project([2.0, 0.1], 0.5), project([2.0, 0.1], None)
    ([0.25, 0.25], [1.0, 0.0], [1.0, 0.1])
    """
    if mean is None:
        return [_clamped(share) for share in shares]
    low, high = -max(shares), 1 - min(shares)  # moved by these, all are 0, and all are 1
    for _ in range(100):  # halvings: to the last digit
        middle = (low + high) / 2
        if sum(_clamped(share + middle) for share in shares) < mean * len(shares):
            low = middle
        else:
            high = middle
    return [_clamped(share + high) for share in shares]


def climb(
    look: Callable[[Sequence[float]], tuple[float, Sequence[float]]], mean: float, count: int, *, tries: int
) -> Found:
    """`ascend` from `count` equal shares, their mean held."""
    return ascend(look, [mean] * count, mean, tries=tries)


def ascend(
    look: Callable[[Sequence[float]], tuple[float, Sequence[float]]],
    start: Sequence[float],
    mean: float | None,
    *,
    tries: int,
) -> Found:
    """Projected gradient ascent. `look` gives the value and its gradient; the mean is held, unless it is None."""
    here, reach = list(start), 1.0 if mean is None else mean
    value, slopes = look(here)
    at_start, tried, step = value, 1, None
    while tried < tries:
        along = _along(here, slopes, mean)
        steepest = max(map(abs, along))
        if steepest * reach < LEAST:
            break
        step = step or reach / (2 * steepest)
        there = project([share + step * slope for share, slope in zip(here, along, strict=True)], mean)
        if max(abs(a - b) for a, b in zip(here, there, strict=True)) < FINEST:
            break
        found, its_slopes = look(there)
        tried += 1
        if found > value + LEAST:
            here, value, slopes, step = there, found, its_slopes, 2 * step
        else:
            step /= 4
    return Found(tuple(here), value, at_start, tried)


def search(look: Callable[[Sequence[float]], float], mean: float, count: int, *, tries: int) -> Found:
    """Take from one share and give to another, whatever pair of them helps, by less and less, from equal shares."""
    here = [mean] * count
    value = start = look(here)
    tried, amount = 1, min(mean, 1 - mean) / 2
    while amount >= FINEST and count > 1:
        better = None
        for giver, taker in permutations(range(count), 2):
            moved = min(amount, here[giver], 1 - here[taker])
            if moved < FINEST or tried >= tries:
                continue
            there = list(here)
            there[giver], there[taker] = there[giver] - moved, there[taker] + moved
            found, tried = look(there), tried + 1
            if found > value + LEAST:
                better, value = there, found
                break
        if better is None:
            amount /= 2
        here = better or here
        if tried >= tries:
            break
    return Found(tuple(here), value, start, tried)


def _along(shares: Sequence[float], slopes: Sequence[float], mean: float | None) -> list[float]:
    """What of a gradient can be followed: no common part, which changes only the mean; or, where that is free, nothing
    that leads out of [0, 1]."""
    if mean is not None:
        return [slope - sum(slopes) / len(slopes) for slope in slopes]
    return [
        0.0 if (share >= 1 and slope > 0) or (share <= 0 and slope < 0) else slope
        for share, slope in zip(shares, slopes, strict=True)
    ]


def _clamped(share: float) -> float:
    return min(1.0, max(0.0, share))
