"""Lines that come while a run goes on, from a growing file or standard input: kept in a copy before they are used.

The copy holds whole lines only, and is the one thing that rows are read from. After a kill it gives the same lines
again, and the source goes on behind them.
"""

import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..errors import DataError
from .files import missing, unfinished

STANDARD_INPUT = "-"
POLL = 0.2  # seconds from one look at a source, and at who wants to stop, to the next
PIECE = 2**16  # bytes read at once: what is copied ahead of its use
ENDINGS = (".jsonl", ".ndjson")
Stopped = Callable[[], bool]


class Source(Protocol):
    """Where bytes come from."""

    name: str  # as problems name it
    end: str  # why nothing comes any more, once nothing does

    def read(self, wait: float) -> bytes | None:
        """What has come, after waiting for at most `wait` seconds; empty: nothing yet. None: nothing will."""
        ...

    def close(self) -> None: ...


class Followed:
    """A file that grows, from byte `at` on. It has ended when nothing came for `idle` seconds; None: never."""

    def __init__(self, path: Path, at: int, idle: float | None) -> None:
        self.name, self._path, self._idle = str(path), path, idle
        self.end = f"no line came to {path} for {0.0 if idle is None else idle:g} s (--stream-idle)"
        self._file = path.open("rb", buffering=0)
        self._file.seek(at)
        self._heard = time.monotonic()

    def read(self, wait: float) -> bytes | None:
        if data := self._file.read(PIECE):
            self._heard = time.monotonic()
            return data
        self._refuse_another_file()
        left = float("inf") if self._idle is None else self._heard + self._idle - time.monotonic()
        if left <= 0:
            return None
        time.sleep(min(wait, left))
        return b""

    def close(self) -> None:
        self._file.close()

    def _refuse_another_file(self) -> None:
        """Raise DataError where the file was cut or replaced: what follows is not what the copy goes on with."""
        ours = os.fstat(self._file.fileno())
        try:
            theirs = self._path.stat()
        except FileNotFoundError:  # taken away: nothing comes any more, until the idle time is over
            return
        if theirs.st_size < self._file.tell() or not os.path.samestat(ours, theirs):
            raise DataError(
                f"{self._path} was cut or replaced while it was followed: a stream's file may only grow. Put it back "
                "and go on with --resume; a file that is replaced every now and then can be piped: "
                f"tail -n +1 -F {self._path} | truenorth train ... --stream -"
            )


class StandardInput:
    """What is piped in, until the pipe closes."""

    name, end = "standard input", "standard input was closed"

    def read(self, wait: float) -> bytes | None:
        if not select.select([0], [], [], wait)[0]:
            return b""
        return os.read(0, PIECE) or None

    def close(self) -> None:  # whoever opened it closes it
        pass


def check_place(path: str, kept: Path) -> None:
    """Raise DataError where no rows can come from `path`: no such file, another kind of file, a terminal.

    `kept` is the folder of the copy; where it says that the stream has ended, nothing is asked of `path`.
    """
    if (kept / "ended").exists():
        return
    if path != STANDARD_INPUT:
        check_file(Path(path))
    elif sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise DataError(_no_pipe(kept))


def check_file(file: Path) -> None:
    """Raise DataError where `file` cannot be followed."""
    if not file.exists():
        raise DataError(f"{missing(file)} A stream's file must be there, though it may be empty: touch {file}")
    if not file.is_file():
        raise DataError(
            f"{file} is no plain file, and a stream follows one file. Pipe rows in instead: --stream - < {file}"
        )
    if file.suffix not in ENDINGS:
        raise DataError(
            f"{file} is not JSONL: a stream is read line by line, from {' or '.join(ENDINGS)}. Convert it, or train "
            "on the file as it is: --data."
        )


def _no_pipe(kept: Path) -> str:
    hint = f"for instance: tail -n +1 -f rows.jsonl | truenorth train ... --stream {STANDARD_INPUT}"
    if (lines := _lines_in(kept / "rows.jsonl")) > 0:
        hint = (
            f"the lines that follow the {lines:,} in {kept / 'rows.jsonl'}, or all of them again. "
            "To end the stream with those: ... --resume < /dev/null"
        )
    return f"Standard input is a terminal or closed, and --stream - reads rows from it. Pipe them in, {hint}"


def _lines_in(copy: Path) -> int:
    if not copy.exists():
        return 0
    with copy.open("rb") as data:
        return sum(1 for line in data if line.endswith(b"\n"))


class Arrivals:
    """The lines of a stream, in order: those of its copy, then those that come.

    `folder` holds `rows.jsonl`, the copy, and `ended` once no more will come. `said` is told what nobody might expect.
    """

    def __init__(self, path: str, folder: Path, *, idle: float | None, said: Callable[[str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.copy, self._end, self._said = folder / "rows.jsonl", folder / "ended", said
        self.name = StandardInput.name if path == STANDARD_INPUT else path
        self._size = _cut_to_lines(self.copy)  # of the copy, in bytes
        self._resent = 0  # bytes of standard input that the copy began with, so far
        self._in_question = path == STANDARD_INPUT and self._size > 0
        self._half = b""  # a line that is still being written
        self._source: Source | None = None
        if not self._end.exists():
            self._source = StandardInput() if path == STANDARD_INPUT else self._followed(Path(path), idle)
        self._out, self._lines = self.copy.open("a+b"), self.copy.open("rb")

    @property
    def ended(self) -> bool:
        """Whether no line will come that the copy does not hold."""
        return self._source is None

    @property
    def end(self) -> str:
        """Why no line will come any more; empty while some may."""
        return self._end.read_text(encoding="utf-8") if self._end.exists() else ""

    def line(self, stopped: Stopped) -> bytes | None:
        """The next line, waited for; None where the stream has ended, or `stopped()` is true meanwhile."""
        while not (line := self._lines.readline()):
            if not self._more(stopped):
                return None
        return line

    def close(self) -> None:
        """Take no more lines."""
        for opened in (self._lines, self._out, *([] if self._source is None else [self._source])):
            opened.close()

    def _followed(self, file: Path, idle: float | None) -> Followed:
        """The file behind what the copy holds of it. Raises DataError where it does not begin with that."""
        if not _begins_with(file, self.copy):
            raise DataError(
                f"{file} does not begin with the lines that were taken from it, which {self.copy} holds: it was cut "
                "or changed. Put it back as it was with new lines behind, or start a new run with another --out."
            )
        return Followed(file, min(self._size, file.stat().st_size), idle)

    def _more(self, stopped: Stopped) -> bool:
        """Whether whole lines were added to the copy; False where the stream has ended or `stopped()`."""
        while self._source is not None:
            if stopped():
                return False
            data = self._source.read(POLL)
            if data is None:
                return self._finish()
            whole, line_break, rest = (self._half + self._new(data)).rpartition(b"\n")
            self._half = rest
            if line_break:
                self._keep(whole + line_break)
                return True
        return False

    def _finish(self) -> bool:
        """The source has ended: a last line without a line break is one too, if it is whole. Whether any was left."""
        if self._in_question and 0 < self._resent < self._size - 1:  # less than the copy: rows that begin alike
            self._half = self._of_copy(0, self._resent) + self._half
        assert self._source is not None, "there was one"
        why = self._source.end
        self._source.close()
        self._source = None
        whole, line_break, last = self._half.rpartition(b"\n")
        lines = whole + line_break
        if unfinished(last):
            why += f", and the last line is not finished: its {len(last):,} bytes are left unread"
        elif last:
            lines += last + b"\n"
        if lines:
            self._keep(lines)
        if self._size:  # of a stream without a line nothing is settled: it may be waited for again
            with self._end.open("w", encoding="utf-8") as mark:
                mark.write(why)
                mark.flush()
                os.fsync(mark.fileno())
        return bool(lines)

    def _new(self, data: bytes) -> bytes:
        """What of `data` the copy does not hold: standard input may come from its beginning again after a kill.

        It does if it repeats the whole copy. What differs anywhere is new from its first byte on.
        """
        if not self._in_question:
            return data
        known = self._of_copy(self._resent, len(data))
        if data[: len(known)] != known:
            self._in_question = False
            return self._of_copy(0, self._resent) + data
        self._resent += len(known)
        if self._resent == self._size:
            self._in_question = False
            self._said(f"Standard input began with the lines that {self.copy} holds: they are not taken again.")
        return data[len(known) :]

    def _of_copy(self, at: int, count: int) -> bytes:
        return os.pread(self._out.fileno(), min(count, self._size - at), at)

    def _keep(self, lines: bytes) -> None:
        self._out.write(lines)
        self._out.flush()
        os.fsync(self._out.fileno())  # no line is trained on that a power cut could take away
        self._size += len(lines)


def lines_since(path: str, copy: Path, *, taken: int) -> tuple[int, int]:
    """The number of the line that holds the last of the `taken` rows of a file, and how many lines follow it by now.

    (0, 0) where that cannot be known: standard input, a file that is gone or was changed. Blank lines are no rows,
    and neither is one that is half written.
    """
    file = Path(path)
    if path == STANDARD_INPUT or not file.is_file() or not copy.is_file() or not _begins_with(file, copy):
        return 0, 0
    with file.open("rb") as data:
        rows = [number for number, line in enumerate(data, 1) if line.strip() and not unfinished(line)]
    return (rows[taken - 1] if 0 < taken <= len(rows) else 0), max(0, len(rows) - taken)


def _begins_with(file: Path, copy: Path) -> bool:
    """Whether `file` begins with the lines that were copied from it, the last of which may lack its line break."""
    with file.open("rb") as now, copy.open("rb") as before:
        while piece := before.read(PIECE):
            if (there := now.read(len(piece))) != piece and there + b"\n" != piece:
                return False
    return True


def _cut_to_lines(copy: Path) -> int:
    """Drop the last line of the copy where a kill cut it in half. Its size in bytes then."""
    copy.touch()
    size = copy.stat().st_size
    with copy.open("r+b") as data:
        while size:
            begin = max(0, size - PIECE)
            data.seek(begin)
            if (place := data.read(size - begin).rfind(b"\n")) >= 0:
                size = begin + place + 1
                break
            size = begin
        data.truncate(size)
    return size
