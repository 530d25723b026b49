"""Answers as JSON lines, written as they come: a kill loses none, and the same command goes on."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..files import write_text
from .sampling import Prompt, Response, total_log_probs

Row = dict[str, Any]


@dataclass(slots=True)
class AnswersFile:
    """A line for each prompt that has been answered; in the prompts' order once all have."""

    file: Path
    prompts: Sequence[Prompt]
    made: Mapping[str, Any]  # how: the model's fingerprint, and the settings that are not the defaults
    rows: dict[int, Row] = field(default_factory=dict[int, Row])  # by the prompt's place

    @classmethod
    def open(cls, file: Path, prompts: Sequence[Prompt], made: Mapping[str, Any]) -> "AnswersFile":
        """What is there already. Raises SettingsError where it was not made by this model, settings and prompts."""
        found = cls(file, prompts, made)
        if not file.exists():
            return found
        whole = b"".join(line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))
        for number, line in enumerate(whole.splitlines(), 1):
            row = found.checked(line, number)
            found.rows[row["place"]] = row
        with file.open("r+b") as rows:
            rows.truncate(len(whole))  # a line that a kill cut off is drawn again
        return found

    def checked(self, line: bytes, number: int) -> Row:
        """A row of these prompts and this way of answering them."""
        try:
            row: Row = json.loads(line)
            theirs = row["place"], row["prompt"], row["made"]
        except (ValueError, KeyError, TypeError):
            theirs = None, None, None
            row = {}
        place = theirs[0] if isinstance(theirs[0], int) and theirs[0] < len(self.prompts) else None
        ours = place, None if place is None else _plain(self.prompts[place]), _plain(self.made)
        if place is None or theirs != ours:
            what = "no answer of this command" if place is None or theirs[1] != ours[1] else f"made with {theirs[2]}"
            raise SettingsError(
                f"--out {self.file}, row {number}: {what}, and now {ours[2]} is asked. "
                "Answers are added only to a file of the same prompts, model and settings: give another --out."
            )
        return row

    def append(self, place: int, responses: Sequence[Response]) -> None:
        """Add a prompt's answers; on disk when it returns."""
        self.rows[place] = row = row_of(place, self.prompts[place], responses, self.made)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as out:
            out.write(_line(row))
            out.flush()
            os.fsync(out.fileno())

    def finish(self) -> None:
        """Put the rows in the prompts' order."""
        write_text(self.file, "".join(_line(self.rows[place]) for place in sorted(self.rows)))


def row_of(place: int, prompt: Prompt, responses: Sequence[Response], made: Mapping[str, Any]) -> Row:
    """A prompt and its K answers. `log_probs` are nats of each whole answer under the distribution drawn from."""
    row: Row = {"place": place, "prompt": prompt, "responses": [r.text for r in responses]}
    row["ended"] = [r.ended for r in responses]
    if (nats := total_log_probs(responses)) is not None:
        row["log_probs"] = list(nats)
    return row | {"made": dict(made)}


def _plain(value: object) -> Any:
    """A value as JSON gives it back: lists for tuples."""
    return json.loads(json.dumps(value, default=list))


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, default=list) + "\n"
