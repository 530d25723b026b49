"""How well rewards order held-out answers, with intervals over prompts and seeds, and apart from what length tells.

Pair accuracy         share of the pairs of a prompt's answers that are ordered as the data do.
At balanced lengths   the mean of two accuracies, on pairs whose better answer is the longer one and on those whose it
                      is the shorter one. Whatever goes by length alone gets 50 %, whichever way it goes.
Rank correlation      Spearman's, of rewards with scores over one prompt's answers; mean over prompts.
Given length          the same as a partial correlation: of what the ranks of length leave of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
GAP = 0.25  # units of score from which one answer counts as better: about one nat of log-odds on alpaca_eval
RESAMPLES = 2000
ANSWERS = 4  # fewest answers to one prompt that a correlation is taken of


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One prompt's answers, as the data judge them. [K] each."""

    prompt_id: str
    scores: Floats  # higher is better
    lengths: Floats  # tokens


@dataclass(frozen=True, slots=True)
class Share:
    """Sums of a mean for each prompt: [seeds, P] of what is counted, and [P] of how much there is of it."""

    sums: Floats
    counts: Floats


@dataclass(frozen=True, slots=True)
class Measured:
    """A mean of means over prompts, with what it takes to draw it anew."""

    parts: tuple[Share, ...]

    def at(self, prompts: Floats, seeds: Floats) -> Floats:
        """[R] the measure where prompts [R, P] and seeds [R, S] count so many times."""
        means = [
            np.einsum("rs,sp,rp->r", seeds / seeds.sum(1, keepdims=True), part.sums, prompts) / (prompts @ part.counts)
            for part in self.parts
        ]
        return np.mean(means, axis=0)

    @property
    def value(self) -> float:
        seeds, prompts = self.parts[0].sums.shape
        return float(self.at(np.ones((1, prompts)), np.ones((1, seeds)))[0])


def measures(rows: Sequence[HeldOut], rewards: Sequence[Sequence[Sequence[float]]]) -> dict[str, Measured]:
    """All measures of rewards[seed][row][answer]. Rows of one prompt_id are drawn together."""
    places = {name: place for place, name in enumerate(dict.fromkeys(row.prompt_id for row in rows))}
    owner = [places[row.prompt_id] for row in rows]
    tallies = [[_tally(row, np.asarray(given)) for row, given in zip(rows, seed, strict=True)] for seed in rewards]

    def summed(name: str) -> Share:
        sums, counts = np.zeros((len(tallies), len(places))), np.zeros(len(places))
        for seed, tally in enumerate(tallies):
            for place, counted in zip(owner, tally, strict=True):
                total, count = counted[name]
                sums[seed, place] += total
                counts[place] += count / len(tallies)
        return Share(sums, counts)

    found = {
        "accuracy": Measured((summed("pairs"),)),
        "accuracy, lengths balanced": Measured((summed("better is longer"), summed("better is shorter"))),
    }
    if any(len(row.scores) >= ANSWERS for row in rows):
        found["rank correlation"] = Measured((summed("spearman"),))
        found["rank correlation, given length"] = Measured((summed("partial"),))
    return found


def interval(one: Measured, other: Measured | None = None) -> tuple[float, float, float]:
    """The measure, or its difference from `other` on the same prompts, with the ends of its 95 % interval: the
    percentile bootstrap over prompts, and over seeds where there are several."""
    draw = np.random.default_rng(0)
    prompts = _drawn(draw, one)
    values, value = one.at(prompts, _seeds(draw, one)), one.value
    if other is not None:
        values, value = values - other.at(prompts, _seeds(draw, other)), value - other.value
    low, high = np.nanquantile(values, [0.025, 0.975])
    return value, float(low), float(high)


def _drawn(draw: np.random.Generator, one: Measured) -> Floats:
    count = one.parts[0].sums.shape[1]
    return draw.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)


def _seeds(draw: np.random.Generator, one: Measured) -> Floats:
    count = one.parts[0].sums.shape[0]
    return draw.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)


def _tally(row: HeldOut, rewards: Floats) -> dict[str, tuple[float, int]]:
    """Sum and count of every mean over one row."""
    better, worse = np.nonzero(row.scores[:, None] - row.scores[None, :] >= GAP)
    margin, longer = rewards[better] - rewards[worse], row.lengths[better] - row.lengths[worse]
    wins = 0.5 * ((margin > 0).astype(float) + (margin >= 0))  # equal rewards count half
    tally = {
        "pairs": (float(wins.sum()), len(wins)),
        "better is longer": (float(wins[longer > 0].sum()), int((longer > 0).sum())),
        "better is shorter": (float(wins[longer < 0].sum()), int((longer < 0).sum())),
    }
    whole = len(row.scores) >= ANSWERS
    both = _correlations(row, rewards) if whole else (0.0, 0.0)
    return tally | {"spearman": (both[0], int(whole)), "partial": (both[1], int(whole))}


def _correlations(row: HeldOut, rewards: Floats) -> tuple[float, float]:
    """Spearman's correlation of rewards with scores, and the partial one given length; 0 where one is constant."""
    ranks = np.stack([ranked(values) for values in (rewards, row.scores, row.lengths)])
    centred = ranks - ranks.mean(1, keepdims=True)
    left = centred[:2] - np.outer(centred[:2] @ centred[2], centred[2]) / max(float(centred[2] @ centred[2]), 1e-12)
    return _cosine(*centred[:2]), _cosine(*left)


def _cosine(a: Floats, b: Floats) -> float:
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-9 else 0.0


def ranked(values: Floats) -> Floats:
    """Ranks from 0, equal values share their mean rank.

    >>> ranked(np.array([3.0, 1.0, 3.0]))
    array([1.5, 0. , 1.5])
    """
    below = (values[None, :] < values[:, None]).sum(1)
    equal = (values[None, :] == values[:, None]).sum(1)
    return below + (equal - 1) / 2
