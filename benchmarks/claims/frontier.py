"""Frontiers of reward against KL, and means over seeds. Pure."""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

Place = tuple[float, float]  # KL in nats, reward


def hull(places: Sequence[Place]) -> list[Place]:
    """The upper concave hull up to the greatest reward, in order of KL.

    What lies on it can be had: of two policies one answers each request by a coin, and KL is convex, so that the
    mixture's is at most the mean of theirs.

    >>> hull([(0.0, 0.0), (1.0, 0.2), (2.0, 1.0), (3.0, 0.9)])
    [(0.0, 0.0), (2.0, 1.0)]
    """
    found: list[Place] = []
    for place in sorted(places, key=lambda p: (p[0], -p[1])):
        if found and place[1] <= found[-1][1]:
            continue
        while len(found) > 1 and _below(found[-2], found[-1], place):
            found.pop()
        found.append(place)
    return found


def _below(first: Place, middle: Place, last: Place) -> bool:
    """Whether the middle one is not above the line between the others."""
    return (middle[1] - first[1]) * (last[0] - first[0]) <= (last[1] - first[1]) * (middle[0] - first[0])


def reward_at(places: Sequence[Place], kl: float) -> float:
    """The greatest reward that mixtures of the places have with at most this KL.

    >>> reward_at([(0.0, 0.0), (2.0, 1.0)], 1.0)
    0.5
    """
    ends = hull(places)
    if kl < ends[0][0]:
        raise ValueError(f"no place has a KL of {kl} or less, the first has {ends[0][0]}.")
    for (left, low), (right, high) in pairwise(ends):
        if kl < right:
            return low + (high - low) * (kl - left) / (right - left)
    return ends[-1][1]


def along(places: Sequence[Place], kl: float) -> float:
    """What a run had when it first was at this KL, on straight lines from each place to the next.

    >>> along([(0.0, 10.0), (2.0, 6.0), (1.0, 2.0)], 1.0)
    8.0
    """
    for (before, first), (after, second) in pairwise(places):
        if before <= kl <= after:
            return first + (second - first) * ((kl - before) / (after - before) if after > before else 0)
    raise ValueError(f"the run never was at a KL of {kl}, its places have {[nats for nats, _ in places]}.")


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and its standard error; of one value infinite."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return statistics.fmean(values), error
