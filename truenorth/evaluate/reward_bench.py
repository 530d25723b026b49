"""How well a model tells better answers from worse ones on held-out rows, as RewardBench asks of implicit rewards.

Paper    Lambert et al. 2024, arXiv:2403.13787: the share of pairs whose chosen answer has the higher reward, by subset
Read     memory
Differs  in reading three scores side by side: the log-ratio to a reference (DPO's implicit reward), the log-prob, and
         the log-prob per token; in rows with K answers, whose pairs count as one row; and in ties, which count half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from .intervals import Interval, bootstrap_mean, paired_difference, proportion
from .win_rate import LONGER, SAME, SHORTER, relation

Array = npt.NDArray[np.float64]
Margins = Sequence[Sequence[float]]  # of each pair of each row
Bins = tuple[tuple[float, float, float], ...]  # sure, right, share of the pairs

SEED = 0  # of the resamples
RESAMPLES = 1000
AT_ONCE = 1_000_000  # numbers of one block of resamples
BINS = 10  # of pairs by how sure a model is of them, a probability between 1/2 and 1
SCORES = {
    "log_ratio": "log-ratio",
    "log_prob": "log-prob",
    "per_token": "log-prob per token",
    "reward": "reward",
    "preference": "log odds of winning",
}


@dataclass(frozen=True, slots=True)
class RankedRow:
    """A row with ranked answers, and what it is grouped by."""

    pairs: tuple[tuple[int, int], ...]  # places of a better and a worse answer
    lengths: tuple[int, ...]  # [K] tokens
    subset: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How sure a model is of pairs, against how often it is right."""

    error: Interval  # expected calibration error (Naeini et al. 2015), in [0, 1]
    error_if_calibrated: float  # what so few pairs would show of a model that is right as often as it says
    overconfidence: Interval  # mean of how sure it is minus how often it is right
    bins: Bins


@dataclass(frozen=True, slots=True)
class Group:
    """All rows, or those of one subset or one relation of lengths."""

    name: str
    accuracy: Interval  # over pairs of which one is better; a tie is half
    margin: Interval  # score of the better answer minus that of the worse one's
    error: float | None  # expected calibration error, where scores mean probabilities


@dataclass(frozen=True, slots=True)
class Ranking:
    """What one score makes of all rows."""

    score: str  # in SCORES
    whole: Group
    by_length: tuple[Group, ...]  # the better answer is shorter, alike or longer
    by_subset: tuple[Group, ...]
    calibration: Calibration | None
    accuracy_of_reference: Interval | None = None  # of the same score under the reference, where there is one
    accuracy_gained: Interval | None = None  # the model's minus the reference's on the same rows

    @property
    def mean_over_subsets(self) -> float | None:
        """The mean of the subsets' accuracies, each counting the same."""
        return float(np.mean([g.accuracy.value for g in self.by_subset])) if self.by_subset else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"mean_over_subsets": self.mean_over_subsets}


@dataclass(frozen=True, slots=True)
class Ranked:
    """What came of held-out preferences."""

    rankings: tuple[Ranking, ...]
    rows: int  # that were measured
    left_out: Mapping[str, int]  # reason -> rows
    beta: float  # sigmoid(beta * margin) is the probability that is meant
    beta_from: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON, the rankings by name."""
        about = {"rows": self.rows, "left_out": dict(self.left_out), "beta": self.beta, "beta_from": self.beta_from}
        return about | {one.score: one.to_dict() for one in self.rankings}


def pairs_of(count: int, scores: Sequence[float] | None) -> tuple[tuple[int, int], ...]:
    """Places of better and worse answers among `count`, best first: all pairs but those of equal score."""
    given = scores or range(count, 0, -1)
    return tuple((i, j) for i, j in combinations(range(count), 2) if given[i] > given[j])


@dataclass(frozen=True, slots=True)
class _Pairs:
    """All pairs, end to end."""

    row: npt.NDArray[np.int64]
    margin: Array
    weight: Array  # the pairs of a row sum to 1
    relation: Sequence[str]  # of the better answer's length to the worse one's

    @property
    def right(self) -> Array:
        return 0.5 * (np.sign(self.margin) + 1.0)

    def only(self, kept: npt.NDArray[np.bool_]) -> "_Pairs":
        row = self.row[kept]
        weight = 1 / np.bincount(row)[row] if len(row) else self.weight[kept]
        return _Pairs(row, self.margin[kept], weight, [r for r, k in zip(self.relation, kept, strict=True) if k])

    def per_row(self, values: Array) -> Array:
        """The mean over the pairs of each row that has some."""
        sums = np.asarray(np.bincount(self.row, weights=values * self.weight), np.float64)
        return sums[np.bincount(self.row) > 0]


def margins_of(rows: Sequence[RankedRow], scores: Sequence[Array]) -> list[list[float]]:
    """The score of the better answer minus that of the worse one, of each pair of each row; `scores` are [K]."""
    return [[float(own[i] - own[j]) for i, j in row.pairs] for row, own in zip(rows, scores, strict=True)]


def ranking(score: str, rows: Sequence[RankedRow], margins: Margins, *, beta: float | None) -> Ranking | None:
    """Accuracy, margin and calibration of each row's pairs; None where there is no pair.

    sigmoid(beta * margin) is the probability that the better answer is; None: no probability is meant.
    """
    entries = [
        (place, margin, 1 / len(row.pairs), relation(row.lengths[i], row.lengths[j]))
        for place, (row, own) in enumerate(zip(rows, margins, strict=True))
        for (i, j), margin in zip(row.pairs, own, strict=True)
    ]
    if not entries:
        return None
    row, margin, weight, relations = zip(*entries, strict=True)
    pairs = _Pairs(np.array(row), np.array(margin, float), np.array(weight), relations)
    lengths = {name: np.array([r == name for r in relations]) for name in (SHORTER, SAME, LONGER)}
    subsets = {
        name: np.array([rows[i].subset == name for i in row]) for name in sorted({r.subset for r in rows} - {""})
    }
    return Ranking(
        score,
        _group("all", pairs, beta),
        tuple(_group(name, pairs.only(kept), beta) for name, kept in lengths.items() if kept.any()),
        tuple(_group(name, pairs.only(kept), beta) for name, kept in subsets.items() if kept.any()),
        None if beta is None else calibration(_sigmoid(beta * pairs.margin), pairs.weight, pairs.row),
    )


def against(one: Ranking, rows: Sequence[RankedRow], ours: Margins, theirs: Margins) -> Ranking:
    """The ranking with what the same score of the reference gets, from the margins of both."""
    own, other = (_rights(rows, margins) for margins in (ours, theirs))
    return replace(
        one,
        accuracy_of_reference=proportion(min(sum(other), len(other)), len(other)),
        accuracy_gained=paired_difference(other, own, SEED),
    )


def _rights(rows: Sequence[RankedRow], margins: Margins) -> list[float]:
    """The share of its pairs that are right, of each row that has some."""
    return [float(np.mean(0.5 * (np.sign(own) + 1.0))) for row, own in zip(rows, margins, strict=True) if row.pairs]


def _group(name: str, pairs: _Pairs, beta: float | None) -> Group:
    right = pairs.per_row(pairs.right)
    error = None if beta is None else float(_errors(*_binned(_sigmoid(beta * pairs.margin)), pairs.weight[None])[0])
    margin = bootstrap_mean(pairs.per_row(pairs.margin).tolist(), SEED)
    return Group(name, proportion(min(float(right.sum()), len(right)), len(right)), margin, error)


def calibration(p: npt.ArrayLike, weight: npt.ArrayLike, row: npt.ArrayLike) -> Calibration:
    """Of [P] probabilities that the better answer of a pair is the better one. Rows are resampled with their pairs."""
    given, weights = np.asarray(p, float), np.asarray(weight, float)
    place, sure, right = _binned(given)
    _, rows = np.unique(np.asarray(row), return_inverse=True)
    generator, count = np.random.default_rng(SEED), int(rows.max()) + 1
    errors, block = list[Array](), max(1, AT_ONCE // len(given))
    for start in range(0, RESAMPLES, block):
        drawn = generator.multinomial(count, [1 / count] * count, min(block, RESAMPLES - start))
        errors.append(_errors(place, sure, right, drawn[:, rows].astype(np.float64) * weights))
    error = float(_errors(place, sure, right, weights[None])[0])
    low, high = np.quantile(np.concatenate(errors), [0.025, 0.975])
    by_chance = [
        float(_errors(place, sure, (generator.random(len(sure)) < sure).astype(float), weights[None])[0])
        for _ in range(RESAMPLES // 10)
    ]
    over = np.bincount(rows, weights=(sure - right) * weights)
    return Calibration(
        Interval(error, min(error, float(low)), max(error, float(high)), count),
        float(np.mean(by_chance)),
        bootstrap_mean(over.tolist(), SEED),
        _bins(place, sure, right, weights),
    )


def _binned(p: Array) -> tuple[npt.NDArray[np.int64], Array, Array]:
    """The bin of each pair, how sure the model is of it, and whether it is right (1/2 where it is at 1/2)."""
    sure = np.maximum(p, 1 - p)
    place = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    return place, sure, 0.5 * ((p > 0.5).astype(float) + (p >= 0.5))


def _errors(place: npt.NDArray[np.int64], sure: Array, right: Array, weights: Array) -> Array:
    """[R] expected calibration errors under [R, P] weightings: |sure - right| summed in each bin."""
    gaps = [(weights[:, place == b] @ (sure - right)[place == b]) for b in range(BINS)]
    return np.abs(np.stack(gaps)).sum(0) / weights.sum(1)


def _bins(place: npt.NDArray[np.int64], sure: Array, right: Array, weight: Array) -> Bins:
    total, found = weight.sum(), list[tuple[float, float, float]]()
    for b in np.unique(place):
        w = weight[place == b]
        found.append(
            (float(w @ sure[place == b] / w.sum()), float(w @ right[place == b] / w.sum()), float(w.sum() / total))
        )
    return tuple(found)


def _sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, -x))
