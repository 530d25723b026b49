"""How often one model's answers win against another's to the same prompts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from statistics import fmean
from typing import Any

import numpy as np

from ..judge import Asked, Failed, Rewards, Verdict
from .intervals import Interval, bootstrap_mean, proportion
from .length_control import controlled

SEED = 0  # of the resamples
ALIKE = 1.25  # answers are alike in length where neither is longer than the other by more than this factor
SHORTER, SAME, LONGER = "shorter", "alike", "longer"


@dataclass(frozen=True, slots=True)
class Match:
    """One prompt: our answers, theirs, and how often each of ours wins against each of theirs."""

    prompt: Asked
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    wins: tuple[tuple[float, ...], ...]  # [ours, theirs] in [0, 1]

    @property
    def win(self) -> float:
        """The mean over all pairs of answers: what the prompt counts."""
        return fmean(win for row in self.wins for win in row)

    def pairs(self) -> list[tuple[float, int, int]]:
        """(win, our length, their length in characters) of each pair of answers."""
        places = product(range(len(self.ours)), range(len(self.theirs)))
        return [(self.wins[i][j], len(self.ours[i]), len(self.theirs[j])) for i, j in places]


@dataclass(frozen=True, slots=True)
class Bucket:
    """The prompts whose answers of ours are shorter, alike or longer than theirs."""

    name: str
    win: Interval | None  # None: there are no such prompts
    count: int


@dataclass(frozen=True, slots=True)
class WinRate:
    """What came of all prompts that the judge spoke of. A tie is half a win."""

    raw: Interval
    controlled: Interval  # at equal lengths, see `length_control`
    won: int  # prompts with more than half of the wins
    even: int
    lost: int
    our_length: float  # characters, mean over prompts
    their_length: float
    buckets: tuple[Bucket, ...]
    left_out: Mapping[str, int]  # reason -> prompts

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def win_of(verdict: Verdict) -> float | Failed:
    """How often the first of two answers wins: 1, 1/2 or 0 by rewards, and the probability itself by a pairwise judge.

    >>> win_of(Rewards((2.0, -1.0)))
    1.0
    """
    match verdict:
        case Rewards((ours, theirs)):
            return 0.5 * ((ours > theirs) + (ours >= theirs))
        case Rewards():
            raise ValueError(f"a match is between two answers, got rewards of {len(verdict.rewards)}.")
        case Failed():
            return verdict
        case _:
            return verdict.wins[0][1]


def match_of(prompt: Asked, ours: Sequence[str], theirs: Sequence[str], verdicts: Sequence[Verdict]) -> Match | Failed:
    """The match of a prompt; `verdicts` are of (ours[0], theirs[0]), (ours[0], theirs[1]), ... A prompt of which the
    judge leaves a pair out is left out."""
    wins = list[float]()
    for verdict in verdicts:
        win = win_of(verdict)
        if isinstance(win, Failed):
            return win
        wins.append(win)
    rows = tuple(tuple(wins[start : start + len(theirs)]) for start in range(0, len(wins), len(theirs)))
    return Match(prompt, tuple(ours), tuple(theirs), rows)


def win_rate(matches: Sequence[Match], left_out: Mapping[str, int] | None = None) -> WinRate:
    """All numbers of the matches; every prompt counts the same, however many answers it has.

    Intervals are of resampled prompts, with all their answers. Raises ValueError where there is no match.
    """
    wins = [match.win for match in matches]
    pairs = [(place, *pair) for place, match in enumerate(matches) for pair in match.pairs()]
    prompt, win, our, their = (np.array(column) for column in zip(*pairs, strict=True))
    sides = Counter("won" if win > 0.5 else "lost" if win < 0.5 else "even" for win in wins)
    return WinRate(
        mean_of_wins(wins),
        controlled(win, our - their, prompt, seed=SEED),
        sides["won"],
        sides["even"],
        sides["lost"],
        fmean(fmean(map(len, match.ours)) for match in matches),
        fmean(fmean(map(len, match.theirs)) for match in matches),
        buckets(matches),
        dict(left_out or {}),
    )


def mean_of_wins(wins: Sequence[float]) -> Interval:
    """The bootstrap's interval; Wilson's where all prompts are won, or all lost: resampled, they know no doubt."""
    if min(wins) == max(wins) in (0, 1):
        return proportion(sum(wins), len(wins))
    return bootstrap_mean(wins, SEED)


def buckets(matches: Sequence[Match]) -> tuple[Bucket, ...]:
    """Win rates by whether our answers are shorter, alike or longer, by their mean length in characters."""
    wins: dict[str, list[float]] = {SHORTER: [], SAME: [], LONGER: []}
    for match in matches:
        wins[relation(fmean(map(len, match.ours)), fmean(map(len, match.theirs)))].append(match.win)
    return tuple(Bucket(name, mean_of_wins(of) if of else None, len(of)) for name, of in wins.items())


def relation(ours: float, theirs: float) -> str:
    """How one length compares to another.

    >>> relation(10, 12), relation(10, 13), relation(13, 10)
    ('alike', 'shorter', 'longer')
    """
    if ours > ALIKE * theirs:
        return LONGER
    return SHORTER if theirs > ALIKE * ours else SAME
