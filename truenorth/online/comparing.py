"""How a round's answers do against those of an earlier round, to the prompts that both asked.

A judge of rewards is not asked: its rewards stand in the rows of both rounds. A judge that compares answers is, and
what it says stands in the later round's `compared.jsonl`: a run that is killed does not ask again.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from ..files import write_text
from ..judge import Failed, Judge, Rewards, Wins, sigmoid
from ..proportions import wilson
from .round_file import RoundFile, RoundRow, folder_of

COMPARED = 64  # prompts whose answers of two rounds are shown to a judge
FILE = "compared.jsonl"  # in the folder of a round
FEWEST = 5  # prompts, below which a share of wins says nothing

Shared = Sequence[tuple[RoundRow, RoundRow]]  # rows of two rounds, each pair of one prompt, the later round's first


@dataclass(frozen=True, slots=True)
class Compared:
    """A line of `compared.jsonl`."""

    round: int  # the earlier one, 1-based
    wins: Mapping[str, float]  # place in the later round -> P(its answer beats the earlier one's)
    asked: int  # prompts that the judge was asked about
    seconds: float


def shared(folder: Path, number: int, earlier: int) -> Shared:
    """The policy's answers in rounds `number` and `earlier`, 0-based, of all rounds' `folder`."""
    files = (RoundFile.open(folder_of(folder, n)) for n in (number, earlier))
    new, old = ({str(row.prompt): own for row in file.rows() if (own := row.own).responses} for file in files)
    return [(new[prompt], old[prompt]) for prompt in new if prompt in old]


def wins_by_rewards(rows: Shared) -> list[float]:
    """Of each prompt the mean P(an answer beats an earlier one) of all such pairs, by Bradley-Terry."""
    return [fmean(sigmoid(a - b) for a in new.scores for b in old.scores) for new, old in judged(rows)]


def judged(rows: Shared) -> Shared:
    """Those of which a judge was asked in both rounds."""
    return [(new, old) for new, old in rows if not (new.unjudged or old.unjudged)]


def wins_by_judge(rows: Shared, judge: Judge, folder: Path, earlier: int) -> list[float]:
    """Of each prompt P(the first answer of the round in `folder` beats the first of round `earlier`), 0-based.

    About COMPARED prompts at most; about fewer than FEWEST nobody is asked. Prompts without a verdict are left out.
    """
    before = read(folder)
    known = next((one for one in before if one.round == earlier + 1), None)
    if known is None and len(rows) >= FEWEST:
        known = _asked(rows[:COMPARED], judge, earlier)
        write_text(folder / FILE, "".join(json.dumps(asdict(one)) + "\n" for one in (*before, known)))
    return [] if known is None else list(known.wins.values())


def _asked(rows: Shared, judge: Judge, earlier: int) -> Compared:
    began = time.perf_counter()
    verdicts = judge([new.prompt for new, _ in rows], [[new.responses[0], old.responses[0]] for new, old in rows])
    wins = {str(new.place): _first_wins(said) for (new, _), said in zip(rows, verdicts, strict=True)}
    known = {place: win for place, win in wins.items() if win is not None}
    return Compared(earlier + 1, known, len(rows), round(time.perf_counter() - began, 3))


def _first_wins(verdict: Rewards | Wins | Failed) -> float | None:
    if isinstance(verdict, Failed):
        return None
    return (verdict.as_wins() if isinstance(verdict, Rewards) else verdict).wins[0][1]


def read(folder: Path) -> list[Compared]:
    """What the round in `folder` was compared with."""
    file = folder / FILE
    return [Compared(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def told(name: str, wins: Sequence[float]) -> dict[str, float]:
    """The metrics of such wins: NAME/count prompts, and of FEWEST or more NAME, their mean, with NAME/low and /high.

    The interval, 95 %, is Wilson's: wide enough for wins that are 0 or 1, and for any between.

    >>> told("wins/initial", [1.0])
    {'wins/initial/count': 1.0}
    """
    found = {f"{name}/count": float(len(wins))}
    if len(wins) < FEWEST:
        return found
    low, high = wilson(sum(wins), len(wins))
    return {name: fmean(wins), f"{name}/low": low, f"{name}/high": high} | found


def measures_of(folder: Path) -> dict[str, float]:
    """Of the comparisons in `folder`, none where there are none:

    comparisons            prompts whose answers a judge compared with an earlier round's
    seconds/comparing      that it took
    """
    if not (found := read(folder)):
        return {}
    return {
        "comparisons": float(sum(one.asked for one in found)),
        "seconds/comparing": sum(one.seconds for one in found),
    }
