"""The rows of each setting: preference data from the folder named by TRUENORTH_DATA, or made up in its likeness.

The folder holds `hh_rlhf/helpful_train.jsonl.gz` (prompt, chosen, rejected) and `alpaca_eval/kwise4_train.jsonl.xz`
(prompt_id, prompt, completions, scores). Nothing of it is kept.
"""

import gzip
import json
import lzma
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAIRS = "hh_rlhf/helpful_train.jsonl.gz"
GROUPS = "alpaca_eval/kwise4_train.jsonl.xz"
LONGEST = 3000  # characters of prompt and one answer, about 700 tokens: neither side truncates
# Made-up rows: the tenths of the lengths, in words, of the HH pairs.
PROMPT_WORDS = (9, 13, 20, 37, 60, 82, 105, 133, 180, 260)
ANSWER_WORDS = (6, 12, 19, 28, 37, 46, 57, 70, 90, 140)


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt with its answers, best first."""

    prompt: str
    responses: tuple[str, ...]


def folder() -> Path | None:
    """Where the data lie, or None: then rows are made up, and the table says so. Raises SystemExit for a wrong one."""
    given = os.environ.get("TRUENORTH_DATA")
    if given is None:
        return None
    for file in (PAIRS, GROUPS):
        if not (Path(given) / file).is_file():
            raise SystemExit(f"TRUENORTH_DATA names {given}, which has no {file}. Unset it to use made-up rows.")
    return Path(given)


def pairs() -> list[Row]:
    """Pairs of answers to dialogues: (a), (b) and (e)."""
    data = folder()
    if data is None:
        return list(made_up(2000, answers=2))
    with gzip.open(data / PAIRS, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return _kept(Row(row["prompt"], (row["chosen"], row["rejected"])) for row in rows)


def summaries() -> list[Row]:
    """Long prompts with short answers: (c). Dialogues laid end to end, and the first 30 words of the answers."""
    made: list[Row] = []
    prompt = ""
    for row in pairs():
        prompt += row.prompt
        if len(prompt) > 2000:
            answers = tuple(" ".join(response.split()[:30]) for response in row.responses)
            made.append(Row(prompt, answers))
            prompt = ""
    return _kept(made)


def groups(answers: int) -> list[Row]:
    """4 or 8 scored answers to one prompt: (d). 8 are two groups of the same prompt."""
    data = folder()
    if data is None:
        return list(made_up(500, answers=answers))
    with lzma.open(data / GROUPS, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    by_prompt: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        by_prompt.setdefault(row["prompt_id"], []).extend(zip(row["scores"], row["completions"], strict=True))
    prompts = {row["prompt_id"]: row["prompt"] for row in rows}
    made: list[Row] = []
    for prompt, scored in by_prompt.items():
        for first in range(0, len(scored) - answers + 1, answers):
            best_first = sorted(scored[first : first + answers], key=lambda item: -item[0])
            made.append(Row(prompts[prompt] + "\n\n", tuple(text for _, text in best_first)))
    return _kept(made)


def made_up(count: int, *, answers: int) -> Iterator[Row]:
    """Rows of made-up words with the lengths of HH pairs."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 8))) for _ in range(8000)]

    def text(lengths: tuple[int, ...]) -> str:
        return " ".join(draw.choices(words, k=draw.choice(lengths)))

    for _ in range(count):
        yield Row(
            f"Human: {text(PROMPT_WORDS)}\n\nAssistant:", tuple(f" {text(ANSWER_WORDS)}" for _ in range(answers))
        )


def _kept(rows: Iterator[Row] | list[Row]) -> list[Row]:
    """Rows that neither side would cut or refuse, in an order of their own.

    Answers begin with a space, so that no tokenizer merges the prompt's end with them.
    """
    clean = [Row(row.prompt.rstrip(" "), tuple(f" {r.strip()}" for r in row.responses)) for row in rows]
    kept = [
        row
        for row in clean
        if len(set(row.responses)) == len(row.responses)
        and all(r.strip() and len(row.prompt) + len(r) <= LONGEST for r in row.responses)
    ]
    random.Random(0).shuffle(kept)
    return kept
