"""Rows of real preference data that fit a small chat model: read, counted, split by prompt, written for `align`.

`TRUENORTH_DATA` names a folder with
- `alpaca_eval/kwise4_{train,test}.jsonl.xz`: prompt_id, prompt, completions, and as scores how probably a judge
  prefers the completion to a strong model's;
- `hh_rlhf/{helpful,harmless}_{train,test}.jsonl.gz`: messages, chosen, rejected.
Nothing of it is kept in the repository.
"""

import gzip
import hashlib
import json
import lzma
import math
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from truenorth.data.chat import Encoder
from truenorth.data.comparisons import Comparison
from truenorth.data.tokens import TokenizedRow
from truenorth.models.load import load_tokenizer

SPLITS = ("train", "validation", "test")
LONGEST = 256  # tokens of prompt and one answer: the model's context
LEAST = 1e-6  # probabilities are stored to this, so smaller ones are taken for it
PER_PROMPT = {"train": 4, "validation": 4, "test": 8}  # answers of one prompt, spread over its scores


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer with its score, and what says whether it fits."""

    prompt_id: str
    prompt: tuple[dict[str, str], ...]  # messages
    text: str
    score: float  # higher is better
    tokens: int  # with the prompt


@dataclass(frozen=True, slots=True)
class Rows:
    """The files of the three splits, and how many rows there are and were."""

    files: dict[str, Path]
    counts: dict[str, Any]

    def held_out(self, split: str) -> list[dict[str, Any]]:
        with self.files[split].open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


def data_folder() -> Path:
    """Where the data lie. Raises SystemExit if nobody says."""
    if (given := os.environ.get("TRUENORTH_DATA")) is None:
        raise SystemExit("These tables need real data: export TRUENORTH_DATA=FOLDER (what it holds: real_rows.py).")
    return Path(given)


def rows_of(data: str, model: str, work: Path) -> Rows:
    """The rows of a data set in `work`, made there if they are not."""
    files = {split: work / f"{split}.jsonl" for split in SPLITS}
    about = work / "counts.json"
    if not about.exists():
        work.mkdir(parents=True, exist_ok=True)
        encoder = Encoder(load_tokenizer(model))
        splits, counts = (_alpaca if data == "alpaca_eval" else _hh)(encoder)
        for split, rows in splits.items():
            files[split].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        about.write_text(json.dumps(counts, indent=1))
    return Rows(files, json.loads(about.read_text()))


def _hh(encoder: Encoder) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """Pairs whose two answers fit, of both halves. A prompt is a conversation: its first message."""
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    counts: Counter[str] = Counter()
    for half in ("helpful", "harmless"):
        for part in ("train", "test"):
            rows = _read(f"hh_rlhf/{half}_{part}.jsonl.gz")
            texts = [(tuple(row["messages"]), (row["chosen"], row["rejected"])) for row in rows]
            for (prompt, answers), lengths in zip(texts, _lengths(encoder, texts), strict=True):
                split = _split(prompt[0]["content"], part)
                counts[f"{split} {half} pairs"] += 1
                if max(lengths) > LONGEST:
                    continue
                counts[f"{split} {half} pairs that fit"] += 1
                told = {"prompt_id": _hash(prompt[0]["content"]), "subset": half, "prompt": prompt}
                splits[split].append(told | {"responses": answers, "ranks": [1, 2]})
    return splits, dict(counts)


def _alpaca(encoder: Encoder) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """One group of answers to each prompt that has four that fit, scored by log-odds in units of their spread.

    The file's own groups of four seldom fit whole, so its answers are grouped anew: as there, spread over the scores.
    """
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    counts: Counter[str] = Counter()
    for part in ("train", "test"):
        rows = _read(f"alpaca_eval/kwise4_{part}.jsonl.xz")
        texts = [(({"role": "user", "content": row["prompt"]},), tuple(row["completions"])) for row in rows]
        by_prompt: dict[str, list[Answer]] = {}
        for row, (prompt, answers), lengths in zip(rows, texts, _lengths(encoder, texts), strict=True):
            found = by_prompt.setdefault(row["prompt_id"], [])
            for text, score, tokens in zip(answers, row["scores"], lengths, strict=True):
                found.append(Answer(row["prompt_id"], prompt, text, _log_odds(score), tokens))
        for prompt_id, answers in by_prompt.items():
            split = _split(prompt_id, part)
            fitting = [answer for answer in answers if answer.tokens <= LONGEST]
            counts[f"{split} prompts"] += 1
            counts[f"{split} answers"] += len(answers)
            counts[f"{split} answers that fit"] += len(fitting)
            if len(group := _spread(fitting, PER_PROMPT[split])) >= 4:
                counts[f"{split} prompts used"] += 1
                counts[f"{split} answers used"] += len(group)
                splits[split].append(_grouped(group))
    unit = statistics.mean(statistics.pstdev(row["scores"]) for row in splits["train"])
    for row in (row for rows in splits.values() for row in rows):
        row["scores"] = [score / unit for score in row["scores"]]
    return splits, {**counts, "nats in a unit of score": unit}


def _grouped(group: Sequence[Answer]) -> dict[str, Any]:
    told = {"prompt_id": group[0].prompt_id, "subset": "", "prompt": group[0].prompt}
    return told | {"responses": [a.text for a in group], "scores": [a.score for a in group]}


def _spread(answers: Iterable[Answer], count: int) -> list[Answer]:
    """At most `count` different answers, at even distances in the order of their scores."""
    ordered = sorted({a.text: a for a in answers if a.text.strip()}.values(), key=lambda a: (-a.score, _hash(a.text)))
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def _lengths(encoder: Encoder, texts: Sequence[tuple[Any, Sequence[str]]]) -> list[list[int]]:
    """Tokens of the prompt and each answer, as they would be trained on; what cannot be encoded does not fit."""
    given = [Comparison(prompt, tuple(answers), tuple(range(len(answers)))) for prompt, answers in texts]
    return [
        [len(row.prompt) + len(response) for response in row.responses]
        if isinstance(row, TokenizedRow)
        else [LONGEST + 1] * len(one.responses)
        for one, row in zip(given, encoder.encode(given), strict=True)
    ]


def _split(prompt: str, part: str) -> str:
    """A sixth of the training prompts is for choosing learning rates; prompts, not rows, are parted."""
    return "validation" if part == "train" and int(_hash(prompt), 16) % 6 == 0 else part


def _log_odds(probability: float) -> float:
    held = min(max(probability, LEAST), 1 - LEAST)
    return math.log(held / (1 - held))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(name: str) -> list[dict[str, Any]]:
    path = data_folder() / name
    if not path.is_file():
        raise SystemExit(f"TRUENORTH_DATA names {data_folder()}, which has no {name}.")
    unpack = lzma.open if path.suffix == ".xz" else gzip.open
    with unpack(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
