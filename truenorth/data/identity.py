"""Whether data are those that were prepared: a text that changes with them."""

import hashlib
from pathlib import Path

from ..errors import DataError
from . import hub
from .files import missing

HASHED_WHOLE = 64 * 2**20  # bytes; of larger files samples are hashed
SAMPLES, SAMPLED = 64, 2**14  # how many, bytes of each


def identity(path: str) -> str:
    """A text that changes when the data at `path` change: see `_digest`."""
    here = Path(path.rpartition(":")[0]) if hub.is_saved(path) and not Path(path).exists() else Path(path)
    if here.is_file():
        return f"{path} {_digest(here)}"
    if here.is_dir():
        files = sorted(file for file in here.rglob("*") if file.is_file())
        return "\n".join([path, *(f"{file.relative_to(here)} {_digest(file)}" for file in files)])
    if hub.could_be_name(path):
        return f"{path} {hub.version(path, not_a_file=missing(here))}"
    raise DataError(missing(here))


def _digest(file: Path) -> str:
    """The hash of a file; of a large one its size, time of change, and the hash of samples spread over it.

    To hash gigabytes would take longer than to start from what is prepared already. The time alone may lie (copies
    that keep it, archives that set it), the samples alone would miss a corrected word: together they miss only an
    edit that keeps the size, falls between the samples, and sets the time back.
    """
    state, digest = file.stat(), hashlib.blake2b(digest_size=16)
    if state.st_size <= HASHED_WHOLE:
        digest.update(file.read_bytes())
        return digest.hexdigest()
    with file.open("rb") as data:
        for start in range(0, state.st_size, -(-state.st_size // SAMPLES)):
            data.seek(start)
            digest.update(data.read(SAMPLED))
    return f"{state.st_size} {state.st_mtime_ns} {digest.hexdigest()}"
