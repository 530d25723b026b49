"""Rows to measure models by: ranked answers, good ones, or texts by which one sees what a model could do before."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..data.boundary import TextTokens
from ..data.compressed import text_lines
from ..data.files import must_exist, read_rows
from ..data.options import DataSettings, Needs
from ..data.prepare import prepare
from ..data.tokens import TokenizedRow, TokenizedRows, key_of
from ..errors import DataError

LINES = ".txt"  # a text on each line
WANTED = (
    "rows with one answer each (prompt and response, or messages), or texts: rows with `text`, or lines of a .txt file"
)


def read_answers(
    path: str, tokenizer: PreTrainedTokenizerBase, *, answers: tuple[int, int | None], max_length: int, given: str
) -> TokenizedRows:
    """Rows with so many answers, best first; those of more than `max_length` tokens are left out.

    `given` is the flag that names the file, for messages. Raises DataError where rows cannot be read, or more than a
    tenth would be left out.
    """
    settings = DataSettings(
        needs=Needs(candidates=answers, given=given), max_length=max_length, too_long="drop", max_problem_share=0.1
    )
    return prepare([(path, 1.0)], tokenizer, settings=settings).rows


def read_texts(path: str, tokenizer: PreTrainedTokenizerBase, *, max_length: int, given: str) -> TokenizedRows:
    """Rows with one answer each: those of a file of answers (a prompt and a response, or messages), or texts.

    A text is a line of a .txt file, or the `text` of rows without a prompt; its first token is the prompt, its others
    are the answer, up to `max_length` tokens in all. `given` is the flag that names the file, for messages. Raises
    DataError where nothing is left, or a row is neither.
    """
    must_exist(path)
    if not _holds_texts(path):
        try:
            return read_answers(path, tokenizer, answers=(1, 1), max_length=max_length, given=given)
        except DataError as error:
            raise DataError(f"{error}\n  {given} is for {WANTED}.") from None
    texts = dict(_texts(path))
    tokens = (np.array(ids[:max_length], np.int32) for ids in TextTokens(tokenizer).begin(list(texts.values())))
    rows = [
        TokenizedRow(ids[:1], (ids[1:],), None, {}, path, row, key_of(ids[:1], (ids[1:],)))
        for row, ids in zip(texts, tokens, strict=True)
        if len(ids) > 1
    ]
    if not rows:
        raise DataError(f"{path} holds no text of two tokens or more.")
    return TokenizedRows.of(rows)


def _holds_texts(path: str) -> bool:
    if path.endswith(LINES):
        return True
    first = next(read_rows(path), None)
    fields = (first.fields if first is not None else None) or {}
    return "text" in fields and not {"prompt", "messages"} & fields.keys()


def _texts(path: str) -> Iterator[tuple[int, str]]:
    """Row number and text. Raises DataError for a row without one."""
    if path.endswith(LINES):
        yield from text_lines(Path(path))
        return
    for raw in read_rows(path):
        text = (raw.fields or {}).get("text")
        if not isinstance(text, str):
            raise DataError(
                f"{path}, row {raw.row}: needs `text`, as the first row has it, got {raw.fault or raw.fields}."
            )
        yield raw.row, text
