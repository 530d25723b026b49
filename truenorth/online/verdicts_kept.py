"""What a judge has answered, on disk: one SQLite file a judge, written in transactions, safe under kills."""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

AT_ONCE = 500  # keys in one query; SQLite allows 999 in old versions
WAIT_SECONDS = 60.0  # for another process that writes


@dataclass(frozen=True, slots=True)
class Kept:
    """Numbers by key. Two processes may read and write the same file; the file appears with the first number."""

    file: Path

    def read(self, keys: Iterable[str]) -> dict[str, float]:
        """Those of `keys` that are there."""
        if not self.file.exists():
            return {}
        wanted, found = list(keys), dict[str, float]()
        with closing(self._open()) as kept:
            for start in range(0, len(wanted), AT_ONCE):
                part = wanted[start : start + AT_ONCE]
                marks = ",".join("?" * len(part))
                found |= kept.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part).fetchall()
        return found

    def write(self, answers: Mapping[str, float]) -> None:
        """Keep `answers`: all of them, or none if killed meanwhile."""
        if not answers:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._open()) as kept, kept:
            kept.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", answers.items())

    def _open(self) -> sqlite3.Connection:
        kept = sqlite3.connect(self.file, timeout=WAIT_SECONDS)
        kept.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID")
        return kept
