"""Prompts to answer, from a file of text or JSON lines."""

import json
from pathlib import Path

from ..errors import DataError
from .sampling import Prompt


def as_turn(prompt: Prompt) -> Prompt:
    """Text as a user's message, messages as they are."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def read_prompts(file: Path) -> list[Prompt]:
    """The prompts of a file: each line of text, or the `prompt` or `messages` of each JSON line.

    Raises DataError naming the line.
    """
    if not file.is_file():
        raise DataError(
            f"there is no file {file}. --prompts takes a .txt or .jsonl file; --prompt takes the text itself."
        )
    lines = [(n, line) for n, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1) if line.strip()]
    if file.suffix not in (".jsonl", ".json"):
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
