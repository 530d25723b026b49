"""Pairs of a round's answers that are learnt from, and those that are left out: `pairs.jsonl` beside the rows."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..files import write_text
from .round_file import PER_ANSWER, RoundRow


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers of a row, and what became of them."""

    place: int  # of the row in the round
    answers: tuple[int, int]  # places of the chosen and of the rejected one in it
    taken: bool = True
    why: str = ""  # such pairs are left out
    gain: float | None = None  # nats in [0, log 2] that an estimator would learn of it; None: none was asked

    def without(self, why: str) -> "Pair":
        return replace(self, taken=False, why=why)

    def of(self, row: RoundRow) -> RoundRow:
        """The row with these two answers alone, ordered as they are here."""
        first, second = self.answers
        columns = dict(row.columns or {})
        if self.gain is not None:
            columns["uncertainty"] = self.gain / math.log(2)
        answers = {
            name: None if (all_ := getattr(row, name)) is None else (all_[first], all_[second]) for name in PER_ANSWER
        }
        wins = ((0.5, row.wins[first][second]), (row.wins[second][first], 0.5))
        of_pair = {"scores": (1.0, 0.0), "wins": wins, "columns": columns, "given": None, "unjudged": True}
        return replace(row, **answers | of_pair)


def file_of(folder: Path) -> Path:
    """Where the pairs of the round in `folder` are written."""
    return folder / "pairs.jsonl"


def write(pairs: Sequence[Pair], folder: Path) -> None:
    """All pairs of a round, a line for each, whole or not at all."""
    write_text(file_of(folder), "".join(json.dumps(asdict(pair)) + "\n" for pair in pairs))


def read(folder: Path) -> list[Pair] | None:
    """The pairs that `write` wrote; None where there are none yet."""
    if not (file := file_of(folder)).is_file():
        return None
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Pair(**pair | {"answers": tuple(pair["answers"])}) for pair in found]


def taken(pairs: Sequence[Pair], rows: Sequence[RoundRow]) -> list[RoundRow]:
    """A row for each pair that is learnt from."""
    by_place = {row.place: row for row in rows}
    return [pair.of(by_place[pair.place]) for pair in pairs if pair.taken]


def measures_of(folder: Path) -> dict[str, float]:
    """Of the pairs in `folder`, none where a round has no such file:

    pairs                  that could have been learnt from
    pairs/left_out         of them
    pairs/gain             nats that an estimator would learn of those that it was asked about, mean
    """
    if (pairs := read(folder)) is None:
        return {}
    found = {"pairs": float(len(pairs)), "pairs/left_out": float(sum(not pair.taken for pair in pairs))}
    gains = [pair.gain for pair in pairs if pair.gain is not None]
    return found | ({"pairs/gain": math.fsum(gains) / len(gains)} if gains else {})


def told(folders: Sequence[Path]) -> str | None:
    """What became of the pairs of all rounds, in a sentence; None where no round left any out by its method."""
    found = [pair for folder in folders for pair in read(folder) or ()]
    if not found:
        return None
    reasons = Counter(pair.why for pair in found if not pair.taken)
    left = "; ".join(f"{count:,} because {why}" for why, count in reasons.most_common())
    return f"Of {len(found):,} pairs in all rounds {len(found) - reasons.total():,} were learnt from" + (
        f". Left out: {left}." if left else "."
    )
