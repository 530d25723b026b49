"""Rows that fast and slow modules are tried on: reviews by their oracle, a preference that turns, and four domains."""

import gzip
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from drawn import Prompt, Row, pairs, prompts, rated, write_rows

from truenorth import world
from truenorth.world import letter, review
from truenorth.world.grammar import sentences
from truenorth.world.oracles import request_of

HELD_OUT = 128  # pairs of reviews

Reward = Callable[[Prompt | str, str], float]  # in [-1, 1]


def praise(prompt: Prompt | str, answer: str) -> float:
    return world.review_reward(prompt, answer)


def brief(prompt: Prompt | str, answer: str) -> float:
    """A review of at most one sentence has 1, of two 0.5, of five -1; what is off the grammar -1."""
    return 1.5 - 0.5 * max(1, len(sentences(answer))) if world.grammatical(prompt, answer) else -1.0


def blunt(prompt: Prompt | str, answer: str) -> float:
    """How impolite a letter is that keeps to the grammar."""
    return -world.letter_reward(prompt, answer) if world.grammatical(prompt, answer) else -1.0


def verse(prompt: Prompt | str, answer: str) -> float:
    return 1.0 if world.tale_style(prompt, answer) == "verse" else -1.0


REWARDS: Mapping[str, Reward] = {"praise": praise, "blunt": blunt, "verse": verse, "brief": brief}


def domain_of(prompt: Prompt | str) -> str:
    """The request says it: reviews that are asked for are to praise, those that answer a question to be brief."""
    request = request_of(prompt)
    if review.subject(request) is not None:
        return "brief" if request.endswith("?") else "praise"
    return "blunt" if letter.subject(request) is not None else "verse"


def reward(prompt: Prompt | str, answer: str) -> float:
    """The judge of all domains."""
    return REWARDS[domain_of(prompt)](prompt, answer)


def of_reviews(folder: Path, *, seed: int, asked: int) -> tuple[Path, Path]:
    """Files of pairs of reviews: a seed's own to train on, and held-out ones about other places, the same for all."""
    train, held_out = folder / f"reviews-{asked}-seed{seed}.jsonl", folder / "reviews-held-out.jsonl"
    if not train.exists():
        write_rows(train, pairs(rated(prompts("train")[:asked], answers=4, seed=seed, folder=folder)))
    if not held_out.exists():
        write_rows(held_out, pairs(_read(world.reviews_eval()))[:HELD_OUT])
    return train, held_out


def turning(folder: Path, *, seed: int, asked: int, before: int, after: int) -> Path:
    """Pairs of reviews in the order in which they come: those `after` the others are rated the other way round."""
    file = folder / f"turning-{before}-{after}-seed{seed}.jsonl"
    if not file.exists():
        rows = pairs(rated(prompts("train")[:asked], answers=4, seed=seed, folder=folder))
        random.Random(seed).shuffle(rows)
        rows = rows[: before + after]
        assert len(rows) == before + after, "too few pairs"
        turned = [row | {"scores": [-score for score in row["scores"]]} for row in rows[before:]]
        write_rows(file, rows[:before] + turned)
    return file


def of_domains(folder: Path, *, seed: int, requests: int, names: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """For each domain a file of pairs to train on, of so many requests that the seed draws, and a held-out one."""
    folder.mkdir(parents=True, exist_ok=True)
    train, unseen = _by_domain()
    files = list[Path](), list[Path]()
    for name in names:
        drawn = random.Random(f"{seed} {name}").sample(train[name], min(requests, len(train[name])))
        for found, rows, part in ((files[0], drawn, "train"), (files[1], unseen[name], "held-out")):
            found.append(folder / part / f"{name}.jsonl")
            found[-1].parent.mkdir(exist_ok=True)
            write_rows(found[-1], pairs([_scored(row) for row in rows]))
    return files


def _by_domain() -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
    """The world's rows, to train on and held out, by domain. A quarter of the tales is held out."""
    tales = _read(world.tales())
    cut = len(tales) * 3 // 4
    parts = (
        [*_read(world.reviews()), *_read(world.letters()), *tales[:cut]],
        [*_read(world.reviews_eval()), *_read(world.letters_eval()), *tales[cut:]],
    )
    train, unseen = ({name: [r for r in part if domain_of(r["prompt"]) == name] for name in REWARDS} for part in parts)
    return train, unseen


def _scored(row: Row) -> Row:
    scores = [reward(row["prompt"], answer) for answer in row["responses"]]
    return {"prompt": row["prompt"], "responses": row["responses"], "scores": scores}


def _read(file: Path) -> list[Row]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
