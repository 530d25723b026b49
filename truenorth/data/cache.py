"""Prepared rows on disk, under a key of all that they depend on."""

import fcntl
import hashlib
import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..errors import DataError
from ..files import write_text
from .boundary import Tokenizer
from .identity import identity
from .options import DataSettings

FORMAT = 5  # raised when the same data and settings would give other rows


def cache_folder(given: Path | None = None) -> Path:
    """`given`, or `$TRUENORTH_CACHE`, or `~/.cache/truenorth`."""
    return given or Path(os.environ.get("TRUENORTH_CACHE") or Path.home() / ".cache" / "truenorth")


def key_of(sources: Sequence[tuple[str, float]], tokenizer: Tokenizer, settings: DataSettings) -> str:
    """32 hex digits that change with the data, the tokenizer, its template and the settings.

    What the account is held against afterwards, each time, is not part of it, nor how the rows are read.
    """
    digest = hashlib.blake2b(digest_size=16)
    rules = settings.model_dump_json(exclude={"refuse": True, "max_problem_share": True, "needs": {"ends", "given"}})
    parts = [str(FORMAT), rules, tokenizer_identity(tokenizer)]
    parts += [f"{identity(path)} {share!r}" for path, share in sources]
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def tokenizer_identity(tokenizer: Tokenizer) -> str:
    """A text that changes with the tokenizer's ids, special tokens and template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(sorted(tokenizer.get_vocab().items()))
    special = json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str)
    return "\n".join([type(tokenizer).__name__, special, json.dumps(tokenizer.chat_template), rules])


def read_about(folder: Path) -> dict[str, Any] | None:
    """What stands beside prepared rows, or None where they are not there, whole."""
    about = folder / "about.json"
    return json.loads(about.read_text(encoding="utf-8")) if about.is_file() else None


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Written last: its presence says that the rows beside it are whole."""
    write_text(folder / "about.json", json.dumps(about, indent=1))


@contextmanager
def writing(folder: Path) -> Generator[bool]:
    """Hold `folder` as its only writer; whether another one had to be waited for.

    The system frees the lock of a process that ends, however it ends: the next one goes on. It needs no group of
    processes, only the file. Raises DataError where the file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        yield _lock(file, folder)


def _lock(file: IO[str], folder: Path) -> bool:
    """Lock `file` until it is closed; whether that took a while."""
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(file, fcntl.LOCK_EX)
            return True
    except OSError as error:
        raise DataError(
            f"{folder} lies on a file system without locks ({error}), so two processes could write the same rows "
            "there. Set TRUENORTH_CACHE to a folder on another one."
        ) from error
    return False
