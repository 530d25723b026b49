"""Files and folders that are whole or not there: written under another name beside their own, then renamed."""

import json
import os
import shutil
from pathlib import Path
from typing import Any


def write_text(file: Path, text: str) -> None:
    """Write `file` in one go; a kill leaves the old one, or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    with new.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)


def put_in_place(new: Path, folder: Path) -> None:
    """Let the folder `new` take the place of `folder`, which need not be there, once all of it is on the disk.

    A kill or a loss of power leaves one of them whole there, or nothing.
    """
    for path in [*new.rglob("*"), new]:
        _wait_for(path)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    _wait_for(folder.parent)


def _wait_for(path: Path) -> None:
    """Until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def as_umask_says(folder: Path) -> None:
    """Let the files in `folder` be read by whom the umask lets: safetensors writes some for their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    for file in folder.iterdir():
        if file.is_file():
            file.chmod(0o666 & ~umask)


def write_json(file: Path, value: Any) -> None:
    """Write `value` as indented JSON in one go. Raises ValueError for what is no JSON, infinities included."""
    write_text(file, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
