"""Answers drawn from the embedded world's SFT model and rated by its oracle, kept in a folder once they are drawn."""

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from truenorth import world
from truenorth.files import write_text
from truenorth.models.load import load_model, load_tokenizer
from truenorth.online.sampler import generate
from truenorth.online.sampling import Sampling
from truenorth.world import review

SFT = str(world.sft_model())
LONGEST = 96  # tokens of an answer; those of the SFT model end by the 60th
Prompt = list[dict[str, str]]
Row = dict[str, Any]  # prompt, responses [K], scores [K] in [-1, 1]


def prompts(which: str) -> list[Prompt]:
    """Requests for reviews: 512 to `train` on, 128 to `test` on about other places, and 128 more to `tune` on."""
    if which != "tune":
        file = world.reviews() if which == "train" else world.reviews_eval()
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            return [json.loads(line)["prompt"] for line in lines]
    known = {prompt[-1]["content"] for name in ("train", "test") for prompt in prompts(name)}
    rng, found = random.Random(1), dict[str, None]()
    while len(found) < 128:
        if (request := review.make_request(rng)) not in known:
            found[request] = None
    return [[{"role": "user", "content": request}] for request in found]


def rated(asked: Sequence[Prompt], *, answers: int, seed: int, folder: Path) -> list[Row]:
    """A row for each prompt with answers drawn at temperature 1; from `folder` if they were drawn before.

    A seed is for one list of prompts.
    """
    file = folder / f"drawn-{len(asked)}x{answers}-seed{seed}.jsonl"
    if not file.exists():
        sampling = Sampling(max_new_tokens=LONGEST, k=answers, seed=seed)
        drawn = generate(load_model(SFT), load_tokenizer(SFT), prompts=asked, sampling=sampling)
        rows: list[Row] = []
        for prompt, responses in zip(asked, drawn, strict=True):
            texts = [response.text for response in responses]
            scores = [world.review_reward(prompt, text) for text in texts]
            rows.append({"prompt": prompt, "responses": texts, "scores": scores})
        write_rows(file, rows)
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """JSON lines, in one go."""
    write_text(file, "".join(json.dumps(row) + "\n" for row in rows))


def cut(rows: Sequence[Row], answers: int) -> list[Row]:
    """The first `answers` of each row, without rows where two are the same or all are rated alike: the library would
    leave these out too, and say so."""
    kept = [row | {name: row[name][:answers] for name in ("responses", "scores")} for row in rows]
    return [row for row in kept if len(set(row["responses"])) == answers and len(set(row["scores"])) > 1]


def pairs(rows: Sequence[Row]) -> list[Row]:
    """Answers 0 and 1, 2 and 3, and so on of each row as rows of two, without ties."""
    many = [
        {"prompt": row["prompt"], "responses": row["responses"][i : i + 2], "scores": row["scores"][i : i + 2]}
        for row in rows
        for i in range(0, len(row["responses"]) - 1, 2)
    ]
    return cut(many, 2)
