"""Prompts to answer, from a file of text or JSON lines."""

import json
from pathlib import Path

from ..data.compressed import text_lines
from ..errors import DataError
from .sampling import Prompt


def as_turn(prompt: Prompt) -> Prompt:
    """Text as a user's message, messages as they are."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def read_prompts(file: Path) -> list[Prompt]:
    """The prompts of a file, compressed or not: each line of text, or `prompt` or `messages` of each JSON line.

    Raises DataError naming the line.
    """
    if not file.is_file():
        raise DataError(
            f"there is no file {file}. --prompts takes a .txt or .jsonl file; --prompt takes the text itself."
        )
    if not (lines := text_lines(file)):
        raise DataError(f"{file} has no prompts: it is empty, or has only blank lines.")
    if not {".jsonl", ".json"} & set(file.suffixes):
        return [line for _, line in lines]
    prompts: list[Prompt] = []
    for n, line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{file}, row {n}: not JSON ({error.msg}), got {line[:60]!r}.") from error
        prompt = row.get("prompt", row.get("messages")) if isinstance(row, dict) else row
        if not (isinstance(prompt, str | list) and prompt):
            raise DataError(f"{file}, row {n}: needs `prompt`, text or a list of messages, got {line[:60]!r}.")
        prompts.append(prompt)
    return prompts
