"""A file of tokenised rows while it is written: parts are appended in order, and those of a killed writer stay."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from .problems import Account
from .tokens import END, SCHEMA


@dataclass(slots=True)
class RowsFile:
    """Rows under way in a folder, beside a log of the parts that are whole: where each ends, and its account.

    Each part is on disk before the log names it, so a kill at any time leaves whole parts and a rest that is cut off.
    """

    folder: Path
    accounts: list[Account]  # of the parts written so far
    _rows: IO[bytes]
    _log: IO[bytes]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The file that an earlier writer left in `folder`, cut behind its last whole part, or a new one."""
        folder.mkdir(parents=True, exist_ok=True)
        rows, log = (_open(folder / name) for name in ("rows.arrow.new", "parts.jsonl"))
        if not rows.read(1):
            log.truncate(0)
        accounts, end, logged = list[Account](), _written(rows, SCHEMA.serialize().to_pybytes(), at=0), 0
        for line in log:
            if not line.endswith(b"\n"):
                break
            part = json.loads(line)
            accounts.append(Account.from_dict(part["account"]))
            end, logged = part["end"], logged + len(line)
        for file, size in ((rows, end), (log, logged)):
            file.truncate(size)
            file.seek(size)
        return cls(folder, accounts, rows, log)

    def append(self, blocks: bytes, account: Account) -> None:
        """Add a part: what `tokens.blocks` made of its rows, and what became of them."""
        end = _written(self._rows, blocks, at=self._rows.tell())
        self.accounts.append(account)
        line = json.dumps({"end": end, "account": account.to_dict()}) + "\n"
        _written(self._log, line.encode(), at=self._log.tell())

    def finish(self) -> Path:
        """The whole file under its own name."""
        _written(self._rows, END, at=self._rows.tell())
        whole = (self.folder / "rows.arrow.new").replace(self.folder / "rows.arrow")
        self.discard()
        return whole

    def discard(self) -> None:
        """Delete what is under way."""
        for name in ("rows.arrow.new", "parts.jsonl"):
            (self.folder / name).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        self._log.close()


def _open(file: Path) -> IO[bytes]:
    """A file to read and write, made if it is not there."""
    file.touch()
    return file.open("r+b")


def _written(file: IO[bytes], data: bytes, *, at: int) -> int:
    """Where the file ends, once `data` stand in it at `at` and would outlast a loss of power."""
    file.seek(at)
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
    return file.tell()
