"""The run directory: where a run keeps what it was asked, what it has done, and what came out."""

import errno
import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import CheckpointError, SettingsError
from ..files import write_json, write_text

# Settings of a run that a resumed one may change: they alter no number, only where, how often and in which dtype it is
# written; and the server that draws answers, which may have died and be elsewhere now.
FREE_OF_WRITING = {"out", "save_every", "keep_checkpoints", "save_as", "eval_every"}
FREE = FREE_OF_WRITING | {"layout", "shard_size", "tensor_size", "sampler"}
FREE_OF_STREAMS = {"stream.idle_seconds"}  # how long a file is waited for, not what comes
LOCK = ".lock"
BEFORE_A_RUN = {LOCK, "rounds"}  # what may lie in its directory: rows of its rounds that were made elsewhere
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # what a file system says that has none


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths in a run directory, and what is written there: by one process."""

    out: Path
    writes: bool = True  # False: another process does
    taken: bool = False  # this process holds it already

    @property
    def settings(self) -> Path:
        return self.out / "run.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"

    @property
    def final(self) -> Path:
        return self.out / "final"

    @property
    def other(self) -> Path:
        """Of two modules that chase each other, the one that is not the result."""
        return self.out / "other"

    @property
    def report(self) -> Path:
        return self.out / "report.html"

    @property
    def began(self) -> bool:
        """Whether a run lies here, not only settings for one."""
        return self.settings.exists() and (self.out / LOCK).exists()

    @property
    def finished(self) -> bool:
        """Whether a run has come to its end here: the final model is written whole, and the report after it."""
        return self.final.exists() and self.report.exists()

    def summary(self) -> dict[str, Any]:
        """summary.json of a finished run."""
        return json.loads((self.out / "summary.json").read_text(encoding="utf-8"))

    def file(self, name: str) -> Path:
        return self.out / name

    def write_settings(self, asked: Mapping[str, Any]) -> None:
        """Make the directory, with `asked` (recipe and run) as its run.yaml, which runs it again."""
        if self.writes:
            write_text(self.settings, yaml.safe_dump(dict(asked), sort_keys=False, allow_unicode=True))

    def write(self, name: str, value: Any) -> None:
        """Write `value` as JSON to the file `name`."""
        if self.writes:
            write_json(self.file(name), value)

    @contextmanager
    def held(self) -> Generator[None]:
        """Within it no other process may train here. The kernel lets go where this process dies.

        Makes the directory. Raises SettingsError, which names the process, where another one holds it.
        """
        if not self.writes or self.taken:
            yield
            return
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / LOCK).open("a+") as lock:
            _take(lock.fileno(), self.out)
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}")
            lock.flush()
            yield
            lock.truncate(0)  # the file stays: another process may have opened it, and would hold what is gone

    def refuse_if_held(self) -> None:
        """Raise SettingsError where another process trains here."""
        if self.writes and (self.out / LOCK).exists():
            with (self.out / LOCK).open("a+") as lock:
                _take(lock.fileno(), self.out)


def opened(out: Path, asked: Mapping[str, Any], *, resume: bool, first: bool) -> RunDirectory:
    """The directory of a run that was asked `asked`, which nobody holds; `first` of its processes writes there.

    Raises as `check_directory` does.
    """
    directory = RunDirectory(out, writes=first)
    directory.refuse_if_held()
    if first:
        check_directory(out, asked, resume=resume)
    return directory


def check_directory(out: Path, asked: Mapping[str, Any], *, resume: bool) -> None:
    """Check that a run that was asked `asked` may go to `out`, which need not exist yet.

    Raises SettingsError if `out` holds something and `resume` is not set, or holds no run; CheckpointError if the run
    there was asked something else.
    """
    directory = RunDirectory(out)
    refuse_taken(out, resume=resume)
    if directory.settings.exists():
        _compare(yaml.safe_load(directory.settings.read_text()), asked, directory.settings)


def refuse_taken(out: Path, *, resume: bool) -> None:
    """Raise SettingsError if `out` holds something other than a run, or a run and `resume` is not set."""
    if RunDirectory(out).settings.exists():
        if not resume:
            raise SettingsError(f"{out} holds a run already. Go on with it by --resume, or choose another --out.")
    elif out.exists() and (not out.is_dir() or any(path.name not in BEFORE_A_RUN for path in out.iterdir())):
        raise SettingsError(f"{out} exists and is no run directory. Choose another --out.")


def identity(*parts: object) -> str:
    """A short hash of what must not change between a checkpoint and the run that goes on from it."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _take(lock: int, out: Path) -> None:
    """Lock an open file until it is closed. Raises SettingsError, which names the process, where another holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = (out / LOCK).read_text() or "another process"
        raise SettingsError(
            f"{out} is being trained by {holder}. Wait for it, stop it (Ctrl-C or kill; --resume then goes on), or "
            "choose another --out."
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _compare(saved: Mapping[str, Any], asked: Mapping[str, Any], file: Path) -> None:
    before, now = _flat(saved), _flat(asked)
    for path in sorted(before.keys() | now.keys()):
        if path.split(".")[:1] == ["run"] and (path.split(".")[1] in FREE or path[4:] in FREE_OF_STREAMS):
            continue
        if before.get(path) != now.get(path):
            raise CheckpointError(
                f"{path} was {before.get(path)!r} when this run began ({file}), and is {now.get(path)!r} now. "
                "A resumed run must be asked the same; for another setting start a new run with another --out."
            )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of nested mappings under its dotted path."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for name, inner in value.items():
        leaves |= _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    return leaves
