"""How a round's pairs are chosen, where a method leaves some out: see `truenorth.selection`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..processes import Group
from ..proportions import up
from ..selection import BeatsOwn, Informative, Selection
from . import pairs
from .pairs import Pair
from .round_file import RoundRow

Floats = npt.NDArray[np.float64]
# J rows of two answers, and a seed -> [J, T] P(first beats second)
Estimator = Callable[[Sequence[RoundRow], int], Floats]
LOTS = 11  # a part of the seed of lots: other draws by the same seed and round are independent of them


@dataclass(frozen=True, slots=True)
class Chooser:
    """Makes of a round's rows those of the pairs that are learnt from."""

    selection: Selection
    estimator: Estimator | None  # of `Informative` alone
    seed: int
    group: Group  # processes that train on the same rows: the first one chooses

    def __call__(self, rows: Sequence[RoundRow], folder: Path, number: int) -> list[RoundRow]:
        """The rows of round `number`, 0-based, which is in `folder`. What was chosen before a kill stands there."""
        if self.group.first and pairs.read(folder) is None:
            pairs.write(self._chosen(rows, number), folder)
        self.group.wait()
        chosen = pairs.read(folder)
        assert chosen is not None
        if not any(pair.taken for pair in chosen):
            raise DataError(f"round {number + 1}: {_why_none(chosen, self.selection)}")
        return pairs.taken(chosen, rows)

    def _chosen(self, rows: Sequence[RoundRow], number: int) -> list[Pair]:
        match self.selection:
            case BeatsOwn():
                return [against_own(row) for row in rows]
            case Informative() as asked:
                assert self.estimator is not None
                draw = np.random.default_rng([self.seed, number, LOTS])
                return informative(rows, asked, self.estimator, draw=draw)


def _why_none(chosen: Sequence[Pair], selection: Selection) -> str:
    if isinstance(selection, BeatsOwn):
        return (
            f"the policy's own answer beats the chosen one of each of {len(chosen)} pairs: the data have nothing left "
            "to teach it, as this judge sees them. Play fewer --rounds: the checkpoint before this one is the end."
        )
    return (
        f"none of {len(chosen)} pairs is left: the judge and the estimator disagree on all that it was asked about, "
        "or the judge scores all answers alike. Look at pairs.jsonl of the round."
    )


def against_own(row: RoundRow) -> Pair:
    """The pair of the data in a row that was judged with answers of the policy's own behind it."""
    if row.given != 2 or len(row.responses) < 3:
        raise DataError(
            f"the row of {str(row.prompt)[:60]!r} has no answer of the policy beside a pair of the data. Rows made "
            "elsewhere have the chosen, the rejected and the drawn answer, in that order, and `given`: 2."
        )
    pair = Pair(row.place, (0, 1))
    return pair if fmean(row.wins[0][2:]) >= 0.5 else pair.without("the policy's own answer beats the chosen one")


def informative(
    rows: Sequence[RoundRow], asked: Informative, estimator: Estimator, *, draw: np.random.Generator
) -> list[Pair]:
    """Every pair of a winner and a loser, with what became of it."""
    found = [pair for row in rows for pair in halves(row)]
    by_place = {row.place: row for row in rows}
    order = draw.permutation(len(found)).tolist()
    estimated = sorted(order[: up(asked.estimated * len(found))])
    for i in order[len(estimated) :]:
        found[i] = found[i].without("the estimator was not asked about them")
    if not estimated:
        return found
    chances = estimator([found[i].of(by_place[found[i].place]) for i in estimated], int(draw.integers(2**31)))
    gains = information_gain(chances)
    for i, gain, agrees in zip(estimated, gains.tolist(), majority(chances).tolist(), strict=True):
        found[i] = replace(found[i], gain=gain)
        if not agrees:
            found[i] = found[i].without("the estimator disagrees with the judge")
    agreed = [i for i in estimated if found[i].taken]
    drawn = drawn_by_gain(np.array([found[i].gain for i in agreed]), asked, draw)
    for i in set(agreed) - {agreed[j] for j in drawn}:
        found[i] = found[i].without("others were drawn in their place")
    return found


def halves(row: RoundRow) -> list[Pair]:
    """Pairs of an answer of the better half with one of the worse; of an odd number the middle one is in none."""
    k, best_first = len(row.scores), sorted(range(len(row.scores)), key=lambda i: -row.scores[i])
    better, worse = best_first[: k // 2], best_first[k - k // 2 :]
    return [Pair(row.place, (i, j)) for i in better for j in worse if row.scores[i] > row.scores[j]]


def information_gain(chances: Floats) -> Floats:
    """[J, T] P(first beats second) of T runs -> [J] nats: the entropy of their mean less the mean of their entropies.

    What one would learn of an estimator's weights by being told who wins. 0 where all runs say the same, or of one.

    >>> information_gain(np.array([[0.0, 1.0], [0.3, 0.3]])).round(4)
    array([0.6931, 0.    ])
    """
    gain = entropy(chances.mean(-1)) - entropy(chances).mean(-1)
    same = (chances == chances[:, :1]).all(-1)  # where rounding would leave something
    return np.where(same, 0.0, gain.clip(0.0, math.log(2)))


def entropy(chances: Floats) -> Floats:
    """Nats, of coins that fall so."""
    rest = 1 - chances
    logs = [np.log(p, out=np.zeros_like(p), where=p > 0) for p in (chances, rest)]
    return -(chances * logs[0] + rest * logs[1])


def majority(chances: Floats) -> npt.NDArray[np.bool_]:
    """[J, T] -> [J] whether at least half of the runs say that the first wins, or that nobody does."""
    return (chances >= 0.5).mean(-1) >= 0.5


def drawn_by_gain(gains: Floats, asked: Informative, draw: np.random.Generator) -> list[int]:
    """Places of the share that is kept, drawn one after another by chances proportional to (1 - gain)^exponent."""
    if not len(gains):
        return []
    weights = (1 - gains) ** asked.exponent
    count = up(asked.kept * len(gains))
    return sorted(draw.choice(len(gains), size=count, replace=False, p=weights / weights.sum()).tolist())
