"""Files that are whole or not there: written under another name in the same folder, then renamed."""

import json
import os
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
