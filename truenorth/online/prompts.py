"""Prompts to answer, from a file of text or JSON lines."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from ..data.compressed import text_lines
from ..data.messages import as_text, describe, is_empty
from ..data.problems import Refused
from ..errors import DataError
from .sampling import Prompt


def as_turn(prompt: Prompt) -> Prompt:
    """Text as a user's message, messages as they are."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def read_prompts(file: Path, *, token_ids: bool = False) -> list[Prompt]:
    """The prompts of a file, compressed or not: each line of text, or `prompt` or `messages` of each JSON line.

    Token ids are taken where `token_ids` says so: a judge reads text. Raises DataError naming the line.
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
            prompts.append(_prompt(json.loads(line), token_ids=token_ids))
        except json.JSONDecodeError as error:
            raise DataError(f"{file}, row {n}: not JSON ({error.msg}), got {line[:60]!r}.") from error
        except Refused as error:
            raise DataError(f"{file}, row {n}: {error.detail}.") from error
    return prompts


def check_token_ids(prompts: Sequence[Prompt], vocabulary: int) -> None:
    """Raise DataError for a token id that is not below `vocabulary`, the tokenizer's size."""
    for n, prompt in enumerate(prompts, 1):
        if _are_token_ids(prompt) and (most := max(cast("Sequence[int]", prompt))) >= vocabulary:
            raise DataError(
                f"prompt {n} has the token id {most}, which the model's tokenizer does not have: "
                f"its ids are 0 to {vocabulary - 1}."
            )


def _prompt(row: object, *, token_ids: bool) -> Prompt:
    """The prompt of a row of JSON. Raises Refused."""
    found = row
    if isinstance(row, dict):
        columns = cast("dict[str, object]", row)
        found = columns.get("prompt", columns.get("messages"))
    if _are_token_ids(found):
        if not token_ids:
            raise Refused("wrong_type", "token ids are taken by `generate` alone, here text or messages are needed")
        return cast("list[int]", found)
    if not (isinstance(found, str | list) and found):
        raise Refused("wrong_type", f"needs `prompt`, text or a list of messages, got {describe(row)}")
    text = as_text(cast("object", found), "the prompt")
    if is_empty(text):
        raise Refused("empty_prompt", "the prompt has nothing but blanks")
    if isinstance(text, str):
        return text
    if all(message["role"] == "assistant" for message in text):
        raise Refused("wrong_type", "the prompt has the assistant's messages alone, and none to answer")
    return list(text)


def _are_token_ids(prompt: object) -> bool:
    return (
        isinstance(prompt, list)
        and bool(cast("list[object]", prompt))
        and all(type(token) is int and token >= 0 for token in cast("list[object]", prompt))
    )
