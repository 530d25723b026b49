"""Rows of a stream: each line is checked and tokenised by itself, as the rows of a file are, in the order they come.

What becomes of a line depends on it and on the lines before it alone, so the same lines make the same rows again.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import DataError
from .arrivals import StandardInput, Stopped
from .chat import Encoder
from .checking import layout_for, too_many
from .checks import hashes_of, problems_of
from .comparisons import Comparison
from .files import RawRow, json_lines, unfinished
from .layouts import Layout, columns_of_texts
from .options import DataSettings
from .parts import Part
from .problems import EXAMPLES, Account, Problem
from .survey import survey
from .tokens import TokenizedRow
from .training_rows import PartToTokenise, training_rows

BOM = b"\xef\xbb\xbf"
KEPT = np.zeros(1, np.bool_)  # one row that no check has dropped


class Lines(Protocol):
    """The lines of a stream, or of its copy."""

    name: str  # as problems name it

    @property
    def ended(self) -> bool:
        """Whether none will come besides those that are there."""
        ...

    def line(self, stopped: Stopped) -> bytes | None:
        """The next one, waited for until `stopped()`."""
        ...

    def close(self) -> None: ...


class Copied:
    """The lines that a stream's copy, or its file, holds now. One that is half written at its end is none yet."""

    ended = True

    def __init__(self, copy: Path, name: str) -> None:
        self.name, self._lines = name, copy.open("rb")

    def line(self, stopped: Stopped) -> bytes | None:
        del stopped
        line = self._lines.readline()
        return None if unfinished(line) else line or None

    def close(self) -> None:
        self._lines.close()


class StreamedRows:
    """Rows to train on, an account of every line, and a note in `left_out` on each that is not among them.

    The layout is decided by the first `by` rows. A row that would stop a run over a file is left out; one that
    contradicts an earlier row is kept, since preferences may have changed, unless `on_problem` is drop.
    """

    def __init__(
        self,
        lines: Lines,
        encoder: Encoder,
        settings: DataSettings,
        *,
        by: int,
        left_out: Path | None = None,  # None: they are not noted
    ) -> None:
        self.account = Account()
        self._lines, self._encoder, self._settings, self._by = lines, encoder, settings, by
        self._layout: Layout | None = None
        self._first = list[RawRow]()  # read for the layout, and not yet taken
        self._read = 0  # lines
        self._ready = list[TokenizedRow]()  # made, and not yet taken
        self._verdicts = dict[int, int]()  # of each prompt and answers that came, the newest
        self._left_out = None if left_out is None else left_out.open("w", encoding="utf-8")

    @property
    def layout(self) -> Layout:
        """How the rows are read."""
        assert self._layout is not None, "rows were begun"
        return self._layout

    def close(self) -> None:
        """Take no more rows."""
        self._lines.close()
        if self._left_out is not None:
            self._left_out.close()

    def begin(self, stopped: Stopped) -> None:
        """Read the first rows and decide on the layout. Raises DataError where there are none, or none fits."""
        while len(self._first) < self._by and (line := self._lines.line(stopped)) is not None:
            self._first += self._raw(line)
        if not self._first:
            waited = " A file is waited for as long as --stream-idle SECONDS says; none: for ever."
            raise DataError(
                f"no row came from {self._lines.name} before it ended. Is its writer running, and does it end each "
                f"line?{'' if self._lines.name == StandardInput.name else waited}"
            )
        prompt, answers = columns_of_texts(self._settings.columns)
        self._layout = layout_for(
            survey(self._first, prompt=prompt, answers=answers), self._lines.name, self._settings
        )
        for raw in self._first:
            result = self._layout.comparison(raw)
            if isinstance(result, Comparison) and (text := too_many(result, self._settings)):
                raise DataError(text)

    def take(self, count: int, stopped: Stopped, said: Callable[[str], None]) -> list[TokenizedRow] | None:
        """The next `count` rows, fewer where the stream ends before. None: `stopped()` before they had come.

        `said` is told of the first rows that are left out for each reason.
        """
        while len(self._ready) < count and (raw := self._next(stopped)) is not None:
            self._ready += self._admitted(raw, said)
        if len(self._ready) < count and not self._lines.ended:
            return None
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    def _next(self, stopped: Stopped) -> RawRow | None:
        while not self._first and (line := self._lines.line(stopped)) is not None:
            self._first += self._raw(line)
        return self._first.pop(0) if self._first else None

    def _raw(self, line: bytes) -> list[RawRow]:
        """The row in a line, none in a blank one."""
        self._read += 1
        try:
            text = (line.removeprefix(BOM) if self._read == 1 else line).decode()
        except UnicodeDecodeError as error:
            return [RawRow(self._lines.name, self._read, None, f"not UTF-8 ({error.reason})")]
        return list(json_lines(self._lines.name, [(self._read, text)]))

    def _admitted(self, raw: RawRow, said: Callable[[str], None]) -> list[TokenizedRow]:
        """The rows to train on that a row of the stream makes."""
        account, rows = Account(), list[TokenizedRow]()
        if not self._drops(raw, account):
            checked = PartToTokenise(Part(0, records=[raw]), 0, self.layout, KEPT, share=1.0)
            rows = list(training_rows(checked, self._encoder, self._settings, account))
        for tally in account.reasons.values():
            tally.action = "drop" if tally.action == "stop" else tally.action  # a stream goes on
        before = {reason: tally.count for reason, tally in self.account.reasons.items()}
        self.account.add(account)
        if account.dropped:
            self._note(account, before, said)
        return rows

    def _drops(self, raw: RawRow, account: Account) -> bool:
        """Whether what can be said without a tokenizer leaves the row out. Counts it in `account`."""
        result, settings = self.layout.comparison(raw), self._settings
        found = [result] if isinstance(result, Problem) else problems_of(result, settings.needs)
        if isinstance(result, Comparison) and too_many(result, settings):
            found.append(Problem("too_many_answers", raw.file, raw.row, f"{len(result.responses)} answers"))
        drops = {p.reason for p in found if account.note(p, settings) in ("stop", "drop")}
        if not drops and isinstance(result, Comparison) and (reason := self._repeats(result)):
            kept = settings if settings.on_problem == "drop" else settings.replace(on_problem="keep")
            if account.note(Problem(reason, raw.file, raw.row), kept) == "drop":
                drops.add(reason)
        account.row(dropped=bool(drops), by_choice=drops == {"tie"})
        return bool(drops)

    def _repeats(self, comparison: Comparison) -> str:
        """Whether an earlier row said the same, or the opposite."""
        if comparison.all_tied:
            return ""
        question, verdict = hashes_of(comparison)
        before = self._verdicts.get(question)
        self._verdicts[question] = verdict
        return "" if before is None else "duplicate" if before == verdict else "contradiction"

    def _note(self, account: Account, before: dict[str, int], said: Callable[[str], None]) -> None:
        for reason, tally in account.reasons.items():
            problem, times = tally.examples[0], before.get(reason, 0)
            if tally.action != "drop":
                continue
            if self._left_out is not None:
                line = {"row": problem.row, "reason": reason, "detail": problem.detail}
                self._left_out.write(json.dumps(line, ensure_ascii=False) + "\n")
                self._left_out.flush()
            if times < EXAMPLES:
                more = (
                    "" if times < EXAMPLES - 1 else " Further ones are not named here; stream/left_out.jsonl has all."
                )
                said(f"Left out: {problem} ({reason}).{more}")
