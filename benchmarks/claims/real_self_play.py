"""Self-play on real prompts: a chat model of 3M weights against a preference model that learned from people's choices.

    export TRUENORTH_DATA=FOLDER  # what it holds: real_rows.py; models: in TRUENORTH_MODELS, else FOLDER/../models
    python benchmarks/claims/real_self_play.py [--methods mpo online_dpo] [--rounds 3] [--folder FOLDER] [--tiny]

Two preference models are trained, each on the conversations that the other one never saw: the judge, which the policy
plays for, and the referee, which is asked only at the end. What the judge says of a policy and the referee does not is
what the policy has learned of the judge alone. Each run is kept in the folder: started again, it goes on.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from points_file import merge
from real_rows import LONGEST, data_folder, rows_of
from transformers.utils.logging import set_verbosity_error

from truenorth import align, measure, methods, win_rate
from truenorth.data.cache import cache_folder
from truenorth.data.chat import Encoder
from truenorth.data.comparisons import Comparison
from truenorth.data.tokens import TokenizedRow
from truenorth.evaluate.win_rate import WinRate
from truenorth.files import write_text
from truenorth.models.load import load_tokenizer
from truenorth.recipe import Recipe

FILE = Path(__file__).parent / "real_self_play.csv"
HEADER = ("what", "by", "measure", "value", "low", "high")
JUDGES = ("judge", "referee")
ANSWER = 48  # tokens of an answer that is drawn
PROMPT = LONGEST - 2 * ANSWER  # tokens of a prompt at most: the judge reads it with two answers behind it
RATES = {"judges": 3e-5, "policy": 3e-5}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is trained and measured."""

    pairs: int | None  # for each judge; None: all
    prompts: int  # of a round
    asked: int  # held-out prompts that are answered before and after
    rounds: int


@dataclass(frozen=True, slots=True)
class Bench:
    """The model, its rows as files, and where runs go."""

    model: str
    folder: Path
    size: Size
    seed: int

    def judge(self, name: str) -> str:
        return str(self.folder / name / "final")


def main() -> None:
    set_verbosity_error()  # transformers warns at every trial of this model's attention
    bench, chosen = _asked()
    lines = [line for name in JUDGES for line in _trained(bench, name)]
    for method in chosen:
        _play(bench, method)
        for name in JUDGES:
            lines += _told(method, name, _contest(bench, method, name))
        lines += _moved(bench, method)
    for what, by, name, *numbers in lines:
        print(f"{what:12} {by:10} {name:28}", " ".join(f"{number:9.3f}" for number in numbers))
    if bench.size.pairs is None:
        merge(FILE, HEADER, [[*line[:3], *(f"{n:.4f}" for n in line[3:])] for line in lines], keys=3)


def _asked() -> tuple[Bench, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["mpo", "mpo_rt", "online_dpo"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="a few steps and rows, to try the script")
    parser.add_argument("--folder", type=Path, help="for rows and runs; else in the cache folder")
    asked = parser.parse_args()
    model = Path(os.environ.get("TRUENORTH_MODELS") or data_folder().parent / "models") / "tinytalk-3M"
    if not (model / "config.json").is_file():
        raise SystemExit(f"There is no model in {model}. Set TRUENORTH_MODELS to the folder that has tinytalk-3M.")
    size = Size(24, 8, 6, 2) if asked.tiny else Size(None, 192, 192, asked.rounds)
    folder = (asked.folder or cache_folder() / "real_self_play") / f"{'tiny' if asked.tiny else 'whole'}-{asked.seed}"
    bench = Bench(str(model), folder, size, asked.seed)
    _write_rows(bench)
    return bench, asked.methods


def _write_rows(bench: Bench) -> None:
    """Pairs for each judge, by half of the conversations; pairs to measure them with; prompts to play and to measure.

    All are those that fit: a judge reads the prompt and two answers within the model's context.
    """
    rows, tokenizer = rows_of("hh_rlhf", bench.model, bench.folder.parent / "rows"), load_tokenizer(bench.model)
    train, test = (
        [_plain(row) for row in _fitting(rows.held_out(split), Encoder(tokenizer))] for split in ("train", "test")
    )
    for place, name in enumerate(JUDGES):
        own = [row for row in train if int(row["prompt_id"], 16) % 2 == place]
        _write(bench.folder / f"{name}.jsonl", own[: bench.size.pairs])
    _write(bench.folder / "test.jsonl", test[: bench.size.pairs])
    for name, given, count in (("prompts", train, bench.size.prompts), ("asked", test, bench.size.asked)):
        short = {json.dumps(row["prompt"]): row for row in given if row["prompt_tokens"] <= PROMPT}
        _write(bench.folder / f"{name}.jsonl", [{"prompt": row["prompt"]} for row in list(short.values())[:count]])


def _fitting(rows: Sequence[Row], encoder: Encoder) -> list[Row]:
    """Rows whose prompt and answers, one behind the other, are within the context; with the prompt's tokens."""
    given = [Comparison(tuple(row["prompt"]), tuple(row["responses"]), (0, 1)) for row in rows]
    found: list[Row] = []
    for row, tokens in zip(rows, encoder.encode(given), strict=True):
        if isinstance(tokens, TokenizedRow) and len(tokens.prompt) + sum(map(len, tokens.responses)) <= LONGEST:
            found.append(row | {"prompt_tokens": len(tokens.prompt)})
    return found


def _plain(row: Row) -> Row:
    return {name: row[name] for name in ("prompt_id", "subset", "prompt", "responses", "ranks", "prompt_tokens")}


def _write(file: Path, rows: Sequence[Row]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, "".join(json.dumps(row) + "\n" for row in rows))


def _run(bench: Bench, name: str, recipe: Recipe, **settings: Any) -> None:
    """A run of the library in the folder `name`, or what is left of it."""
    out = bench.folder / name
    same: dict[str, Any] = {"batch_size": 16, "max_length": LONGEST, "tokens_per_micro_batch": 2048, "samples": 0}
    result = align(recipe, model=bench.model, out=out, resume=out.exists(), seed=bench.seed, **same, **settings)
    if result.interrupted:
        raise SystemExit(f"{name} was stopped; started again, it goes on.")


def _trained(bench: Bench, name: str) -> list[list[Any]]:
    """A preference model, trained if it is not there: its accuracy on held-out pairs, and how far it is too sure."""
    recipe = methods.recipe("preference", learning_rate=RATES["judges"])
    _run(bench, name, recipe, data=str(bench.folder / f"{name}.jsonl"), epochs=2)
    found = measure(bench.judge(name), data=str(bench.folder / "test.jsonl")).to_dict()["pairs"]
    whole = next(iter(found[key] for key in found if isinstance(found[key], dict) and "whole" in found[key]))
    lines = [["", name, "accuracy", whole["whole"]["accuracy"]]]
    lines += [["", name, f"accuracy, {group['name']}", group["accuracy"]] for group in whole["by_subset"]]
    lines.append(["", name, "surer than right by", whole["calibration"]["overconfidence"]])
    return [[*line[:3], line[3]["value"], line[3]["low"], line[3]["high"]] for line in lines]


def _recipe(method: str, size: Size) -> Recipe:
    recipe = methods.recipe(method, learning_rate=RATES["policy"])
    assert recipe.schedule is not None
    return recipe.replace(
        schedule=recipe.schedule.replace(rounds=size.rounds, k=4, prompts="all", max_new_tokens=ANSWER)
    )


def _play(bench: Bench, method: str) -> None:
    judge = f"preference:{bench.judge('judge')}"
    _run(bench, method, _recipe(method, bench.size), prompts=bench.folder / "prompts.jsonl", judge=judge)


def _contest(bench: Bench, method: str, judge: str) -> WinRate:
    return win_rate(
        bench.folder / method / "final",
        against=bench.model,
        judge=f"preference:{bench.judge(judge)}",
        prompts=bench.folder / "asked.jsonl",
        out=bench.folder / f"{method}-against-start",
        max_new_tokens=ANSWER,
        k=4,
    )


def _told(method: str, judge: str, rate: WinRate) -> list[list[Any]]:
    by = {"wins against the start": rate.raw, "at equal lengths": rate.controlled}
    return [[method, judge, name, one.value, one.low, one.high] for name, one in by.items()]


def _moved(bench: Bench, method: str) -> list[list[Any]]:
    found = measure(
        bench.folder / method / "final",
        reference=bench.model,
        prompts=str(bench.folder / "asked.jsonl"),
        samples=bench.size.asked,
        max_new_tokens=ANSWER,
    ).kl
    assert found is not None
    return [[method, "", "KL, nats per answer", found.per_answer.value, found.per_answer.low, found.per_answer.high]]


if __name__ == "__main__":
    main()
