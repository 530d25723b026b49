"""The rows of a round on disk: answers and verdicts, readable by people and by `truenorth train --data`.

A round is a folder with `rows.jsonl`, a line for each prompt, and `log.jsonl`, which names what has been written: rows
that a kill cut off are not in it, and are made again. A `rows.jsonl` without a log was made elsewhere, and is taken
as it is: `prompt`, `responses` and `scores` or `wins`, and what else `RoundRow` names.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..judge import Asked, Rewards, Wins

PER_ANSWER = ("responses", "scores", "tokens", "ended", "log_probs")  # fields of a row that have one for each


@dataclass(frozen=True, slots=True)
class Beside:
    """M answers that were drawn beside those of a row, and are compared with none."""

    responses: tuple[str, ...]  # [M]
    tokens: tuple[tuple[int, ...], ...] | None = None  # [M]
    ended: tuple[bool, ...] | None = None  # [M]


@dataclass(frozen=True, slots=True)
class RoundRow:
    """A prompt, its K answers in the order in which they were drawn, and what the judge said of them."""

    prompt: Asked
    responses: tuple[str, ...]  # [K]
    scores: tuple[float, ...]  # [K] the judge's rewards, or each answer's mean win against the others
    wins: tuple[tuple[float, ...], ...]  # [K, K] P(row beats column)
    place: int  # of the prompt in the round
    tokens: tuple[tuple[int, ...], ...] | None = None  # [K] as they were drawn; None: known as text only
    ended: tuple[bool, ...] | None = None  # [K] by the model itself; None: not known
    log_probs: tuple[float, ...] | None = None  # [K] nats under the distribution drawn from; None: not known
    opponents: int | None = None  # so many of the answers, the last, are not the policy's but of its opponent
    given: int | None = None  # so many of the answers, the first, are the data's; None: all were drawn
    unjudged: bool | None = None  # True: no judge was asked; scores and wins are the data's, or all alike
    beside: Beside | None = None
    columns: Mapping[str, float] | None = None  # further numbers for the objective
    prompt_tokens: tuple[int, ...] | None = None  # of a prompt of the data; None: those of the prompt as text
    made: Mapping[str, Any] = field(default_factory=dict[str, Any])  # how: round, seed, temperature, ...

    @classmethod
    def judged(cls, verdict: Rewards | Wins, **fields: Any) -> "RoundRow":
        """A row with what `verdict` says: rewards also as wins (Bradley-Terry), wins also as scores."""
        if isinstance(verdict, Rewards):
            return cls(scores=verdict.rewards, wins=verdict.as_wins().wins, **fields)
        return cls(scores=verdict.against_others(), wins=verdict.wins, **fields)

    @property
    def own(self) -> "RoundRow":
        """The row with the policy's answers alone, none where nothing was drawn, and their scores among all.

        Answers that nobody compared have a score of 1/2.
        """
        if (drawn := self.beside) is not None:
            m = len(drawn.responses)
            even: dict[str, Any] = {"scores": (0.5,) * m, "wins": ((0.5,) * m,) * m}
            known: dict[str, Any] = {name: getattr(drawn, name) for name in ("responses", "tokens", "ended")}
            return replace(self, given=None, beside=None, log_probs=None, **known, **even)
        if not (self.given or self.opponents):
            return self
        places = slice(self.given, len(self.responses) - (self.opponents or 0))
        cut = {name: None if (all_ := getattr(self, name)) is None else all_[places] for name in PER_ANSWER}
        return replace(self, wins=tuple(row[places] for row in self.wins[places]), given=None, opponents=None, **cut)

    @property
    def opposing(self) -> "RoundRow":
        """The row with the opponent's answers alone, and their scores among all."""
        first = len(self.responses) - (self.opponents or 0)
        return replace(self, given=first, opponents=None).own

    @property
    def wins_against_opponents(self) -> tuple[float, ...]:
        """[K - opponents] the mean win of each of the policy's answers against the opponent's."""
        assert self.opponents
        return tuple(sum(row[-self.opponents :]) / self.opponents for row in self.wins[: -self.opponents])

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Written:
    """A group of prompts that are through: a line of the log."""

    places: tuple[int, ...]  # all of them, those left out too
    left_out: Mapping[str, str]  # place -> why there is no verdict
    sampling_seconds: float
    judging_seconds: float


def folder_of(rounds: Path, number: int) -> Path:
    """The folder of round `number`, 0-based, in that of all rounds."""
    return rounds / f"{number + 1:04}"


@dataclass(slots=True)
class RoundFile:
    """A round's folder. One process writes, and only at the end."""

    folder: Path
    written: list[Written] = field(default_factory=list[Written])

    @classmethod
    def open(cls, folder: Path) -> "RoundFile":
        """What is there of the round; what a kill cut off is cut away."""
        found = cls(folder)
        if found.made_elsewhere or not found.log.exists():
            return found
        log, end = found.log.read_bytes(), 0
        whole = log[: log.rfind(b"\n") + 1]
        for line in whole.splitlines():
            entry = json.loads(line)
            end = entry.pop("end")
            found.written.append(Written(**entry | {"places": tuple(entry["places"])}))
        found.rows_file.touch()
        os.truncate(found.rows_file, end)
        os.truncate(found.log, len(whole))  # or the next entry would follow half of one
        return found

    @property
    def rows_file(self) -> Path:
        return self.folder / "rows.jsonl"

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def made_elsewhere(self) -> bool:
        return self.rows_file.exists() and not self.log.exists()

    @property
    def done(self) -> frozenset[int]:
        """Places that need not be asked again."""
        return frozenset(place for entry in self.written for place in entry.places)

    @property
    def left_out(self) -> dict[int, str]:
        """Place -> why there is no verdict."""
        return {int(place): why for entry in self.written for place, why in entry.left_out.items()}

    def append(self, rows: Sequence[RoundRow], entry: Written) -> None:
        """Add a group: on disk before the log names it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.touch()  # before the first row, or the rows would seem made elsewhere
        end = _appended(self.rows_file, [row.to_json() for row in rows])
        _appended(self.log, [{"end": end, **asdict(entry)}])
        self.written.append(entry)

    def rows(self) -> list[RoundRow]:
        """All rows, by place. Raises DataError naming a line that cannot be read."""
        if not self.rows_file.exists():
            return []
        found = [_row(line, f"{self.rows_file}, row {n}", n) for n, line in enumerate(_whole_lines(self.rows_file), 1)]
        return sorted(found, key=lambda row: row.place)


def given_as_files(folders: Sequence[Path]) -> str | None:
    """Which rounds were taken from files that were there, in a sentence; None where none was."""
    given = [(file, file.rows()) for folder in folders if (file := RoundFile(folder)).made_elsewhere]
    if not given:
        return None
    said = (
        f"rounds/{file.folder.name}/rows.jsonl ({len(rows):,} prompts, {sum(len(row.responses) for row in rows):,} "
        "answers)"
        for file, rows in given
    )
    return (
        f"Taken as they were there, and not drawn from the policy: {', '.join(said)}. Other rounds are not compared "
        "with them."
    )


def _whole_lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as lines:
        yield from (line for line in lines if line.endswith("\n") and line.strip())


def _appended(file: Path, records: Sequence[Mapping[str, Any]]) -> int:
    """Bytes of `file` once `records` stand at its end and would outlast a loss of power."""
    with file.open("ab") as out:
        out.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())
        out.flush()
        os.fsync(out.fileno())
        return out.tell()


def _row(line: str, where: str, number: int) -> RoundRow:
    try:
        data: Any = json.loads(line)
        prompt, responses = data["prompt"], tuple(data["responses"])
        verdict = Wins(tuple(map(tuple, data["wins"]))) if "wins" in data else Rewards(tuple(data["scores"]))
        if len(verdict.wins if isinstance(verdict, Wins) else verdict.rewards) != len(responses):
            raise ValueError("there must be as many verdicts as `responses`")
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where}: needs `prompt`, `responses`, and `scores` or `wins` of each ({error!r}), got {line[:80]!r}."
        ) from error
    row = RoundRow.judged(verdict, prompt=prompt, responses=responses, place=int(data.get("place", number - 1)))
    tokens, ended, log_probs = data.get("tokens"), data.get("ended"), data.get("log_probs")
    beside, prompt_tokens = data.get("beside"), data.get("prompt_tokens")
    return replace(
        row,
        scores=tuple(data.get("scores", row.scores)),
        tokens=None if tokens is None else tuple(map(tuple, tokens)),
        ended=None if ended is None else tuple(ended),
        log_probs=None if log_probs is None else tuple(log_probs),
        opponents=data.get("opponents"),
        given=data.get("given"),
        unjudged=data.get("unjudged"),
        beside=None if beside is None else _beside(beside),
        columns=data.get("columns"),
        prompt_tokens=None if prompt_tokens is None else tuple(prompt_tokens),
        made=data.get("made", {}),
    )


def _beside(data: Mapping[str, Any]) -> Beside:
    tokens, ended = data.get("tokens"), data.get("ended")
    return Beside(
        responses=tuple(data["responses"]),
        tokens=None if tokens is None else tuple(map(tuple, tokens)),
        ended=None if ended is None else tuple(ended),
    )
