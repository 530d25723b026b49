"""Preference methods on real data with a chat model of 3M weights: how well their implicit rewards order held-out
answers, apart from what length tells. docs/real-data.md has what came out.

    export TRUENORTH_DATA=FOLDER  # what it holds: real_rows.py; models: in TRUENORTH_MODELS, else FOLDER/../models
    python benchmarks/claims/real_data.py --data alpaca_eval [--tiny] [--methods exo_rw sdpo] [--folder FOLDER]
    python benchmarks/claims/real_data.py --data hh_rlhf

Half an hour each on one core. Each run is kept in the folder: started again, it goes on where it was stopped.
"""

import argparse
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_measures import HeldOut, Measured, measures
from real_rows import LONGEST, Rows, data_folder, rows_of
from real_tables import Line, print_table, write_csv
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import set_verbosity_error

from truenorth import align, methods, score
from truenorth.data.cache import cache_folder
from truenorth.data.loader import Steps
from truenorth.data.prepare import prepare
from truenorth.files import write_json
from truenorth.job import data_settings
from truenorth.models.load import load_model, load_tokenizer
from truenorth.optim.update import AdamW
from truenorth.recipe import Objective, Recipe
from truenorth.run import Run
from truenorth.types import Candidates, LogProbs

TOKENS = {"alpaca_eval": 60_000, "hh_rlhf": 80_000}  # through the policy in one run
RATES = {"alpaca_eval": (3e-6, 1e-5, 3e-5), "hh_rlhf": (1e-5,)}  # learning rates, the same for all methods
METHODS = {  # the first is what the others are compared with
    "alpaca_eval": ("dpo_rw", "exo_rw", "sdpo", "odpo", "mmpo"),
    "hh_rlhf": ("dpo", "exo", "simpo", "rpo", "aps", "mallows_dpo"),
}
ANSWERS_A_STEP = 16  # 4 prompts with 4, or 8 pairs
BETA = 0.1  # of every method with a reference: only the objective differs
AT_ONCE = 16  # answers of like length in one forward pass


@dataclass(frozen=True, slots=True)
class Size:
    """How much is trained and measured."""

    tokens: int  # a prompt counted once for each answer
    rates: Sequence[float]  # of several, one is chosen on the validation prompts, with the first seed
    seeds: Sequence[int]
    rows: int | None = None  # held-out rows; None: all


@dataclass(frozen=True, slots=True)
class Bench:
    """One data set with the model that is trained on it."""

    data: str
    model: str
    tokenizer: PreTrainedTokenizerBase
    rows: Rows
    folder: Path
    size: Size


@dataclass(frozen=True, slots=True)
class Trial:
    """One run."""

    method: str
    rate: float
    seed: int

    @property
    def recipe(self) -> Recipe:
        """The method's own settings, but for beta, and one optimizer for all."""
        own = {} if self.method == "simpo" else {"beta": BETA}
        update = AdamW(learning_rate=self.rate, warmup_share=0.1, decay="cosine", max_grad_norm=1.0)
        return methods.recipe(self.method, **own).replace(update=update)

    def __str__(self) -> str:
        return f"{self.method}-{self.rate:g}-{self.seed}"


def main() -> None:
    set_verbosity_error()  # transformers warns at every trial of this model's attention
    bench, chosen = _asked()
    lines = _baselines(bench)
    compared: Mapping[str, Measured] | None = None
    for method in chosen:
        line = _tuned(bench, method, compared)
        compared = compared or line.measured
        lines.append(line)
        print_table(lines)
    print(json.dumps(bench.rows.counts, indent=1))
    if bench.size.rows is None:
        write_csv(bench.data, lines)


def _asked() -> tuple[Bench, list[str]]:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=METHODS, required=True)
    parser.add_argument("--methods", nargs="+", help="some of them, beside the first, DPO")
    parser.add_argument("--tokens", type=int, help="through the policy in one run (60,000 and 80,000)")
    parser.add_argument("--rates", nargs="+", type=float, help="learning rates; of several, one is chosen")
    parser.add_argument("--seeds", type=int, default=2, help="runs at the learning rate that was chosen")
    parser.add_argument("--tiny", action="store_true", help="a few steps and rows, to try the script")
    parser.add_argument("--folder", type=Path, help="for rows and runs; else in the cache folder")
    asked = parser.parse_args()
    first, *others = METHODS[asked.data]
    chosen = others if asked.methods is None else [name for name in asked.methods if name != first]
    if unknown := set(chosen) - set(others):
        raise SystemExit(f"--methods {', '.join(unknown)}: {asked.data} has {', '.join(METHODS[asked.data])}.")
    rates = tuple(asked.rates or RATES[asked.data])
    size = Size(asked.tokens or TOKENS[asked.data], rates, tuple(range(asked.seeds)))
    if asked.tiny:
        size = Size(tokens=3000, rates=rates[:1], seeds=(0,), rows=12)
    return _bench(asked.data, asked.folder or cache_folder() / "real_data", size), [first, *chosen]


def _bench(data: str, folder: Path, size: Size) -> Bench:
    """The rows and the model. Raises SystemExit where one is missing."""
    model = Path(os.environ.get("TRUENORTH_MODELS") or data_folder().parent / "models") / "tinytalk-3M"
    if not (model / "config.json").is_file():
        raise SystemExit(f"There is no model in {model}. Set TRUENORTH_MODELS to the folder that has tinytalk-3M.")
    rows = rows_of(data, str(model), folder / data / "rows")
    runs = folder / data / ("tiny" if size.rows else f"runs-{size.tokens}")
    return Bench(data, str(model), load_tokenizer(str(model)), rows, runs, size)


def _tuned(bench: Bench, method: str, compared: Mapping[str, Measured] | None) -> Line:
    """The method at the learning rate that is best on the validation prompts, measured on the test prompts."""
    best, *others = bench.size.rates
    if others:
        accuracies = {rate: _tried(bench, Trial(method, rate, bench.size.seeds[0])) for rate in bench.size.rates}
        best = max(accuracies, key=lambda rate: accuracies[rate])
        print(method, "on validation prompts:", {f"{r:g}": round(a, 4) for r, a in accuracies.items()}, flush=True)
    trials = [Trial(method, best, seed) for seed in bench.size.seeds]
    measured = _measured(bench, "test", [_rewards(bench, trial, "test") for trial in trials])
    tokens = [json.loads((bench.folder / str(trial) / "tokens.json").read_text()) for trial in trials]
    return Line(method, f"{best:g}", round(float(np.mean(tokens))), len(trials), measured, compared)


def _tried(bench: Bench, trial: Trial) -> float:
    """Pair accuracy on the validation prompts."""
    return _measured(bench, "validation", [_rewards(bench, trial, "validation")])["accuracy"].value


def _rewards(bench: Bench, trial: Trial, split: str) -> list[list[float]]:
    """The implicit rewards of held-out answers after the run, which is made if it is not there."""
    out = bench.folder / str(trial)
    kept = out / f"rewards-{split}.json"
    if not kept.exists():
        if not (out / "tokens.json").exists():
            _train(bench, trial, out)
        start, policy = _log_probs(bench, bench.model, split), _log_probs(bench, str(out / "final"), split)
        write_json(kept, [_implicit(trial.recipe.objective, *both) for both in zip(policy, start, strict=True)])
    return json.loads(kept.read_text())


def _implicit(objective: Objective, policy: LogProbs, start: LogProbs) -> list[float]:
    references = dict.fromkeys(objective.references, start)
    return objective.implicit_rewards(Candidates(policy, references))[0].tolist()


def _train(bench: Bench, trial: Trial, out: Path) -> None:
    """One run of the library, of as many steps as have the tokens that every method gets."""
    most = trial.recipe.objective.candidates[1]
    settings: dict[str, Any] = {
        "batch_size": ANSWERS_A_STEP // (4 if most is None else 2),
        "pairing": "none" if most is None or bench.data == "hh_rlhf" else "all_pairs",
        "max_length": LONGEST,
        "on_problem": "drop",
        "tokens_per_micro_batch": 1024,
        "seed": trial.seed,
        "samples": 0,
    }
    shutil.rmtree(out, ignore_errors=True)  # what was stopped half-way
    data = str(bench.rows.files["train"])
    steps, tokens = _steps(bench, trial.recipe, Run(model=bench.model, data=data, out=out, **settings))
    print(f"{trial}: {steps} steps", flush=True)
    length: dict[str, Any] = {"max_steps": steps, "save_every": steps}
    result = align(trial.recipe, model=bench.model, data=data, out=out, **settings, **length)
    if result.interrupted:
        raise SystemExit(f"{trial} was stopped; started again, it begins anew.")
    shutil.rmtree(out / "checkpoints")
    write_json(out / "tokens.json", tokens)


def _steps(bench: Bench, recipe: Recipe, run: Run) -> tuple[int, int]:
    """The fewest steps of `run` that bring so many tokens through the policy, and how many they bring."""
    source = [(run.data[0].path, 1.0)]
    rows = prepare(source, bench.tokenizer, settings=data_settings(recipe, run)).rows
    through = rows.lengths + (rows.candidates - 1) * rows.prompt_lengths  # [R] tokens, the prompt with each answer
    order = Steps(rows, run.batch_size, seed=run.seed, max_steps=bench.size.tokens)  # a step has a token at least
    steps = tokens = 0
    while tokens < bench.size.tokens:
        tokens += int(through[order.indices(steps)].sum())
        steps += 1
    return steps, tokens


@torch.no_grad()
def _log_probs(bench: Bench, model: str, split: str) -> list[LogProbs]:
    """[1, K] of each held-out row. Answers of like length go together, since this model's rows are padded."""
    kept = (bench.folder / "start" if model == bench.model else Path(model)) / f"log_probs-{split}.npy"
    rows = bench.rows.held_out(split)[: bench.size.rows]
    if not kept.exists():
        asked = [(row["prompt"], text) for row in rows for text in row["responses"]]
        by_length = sorted(range(len(asked)), key=lambda i: sum(map(len, map(str, asked[i]))))
        found = np.zeros((2, len(asked)), np.float32)  # nats, tokens
        weights = load_model(model)
        for first in range(0, len(asked), AT_ONCE):
            places = by_length[first : first + AT_ONCE]
            given = [{"prompt": asked[i][0], "responses": [_turn(asked[i][1])]} for i in places]
            scored = score(weights, bench.tokenizer, given)
            found[:, places] = scored.total[:, 0], scored.length[:, 0]
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, found)
    totals, lengths = torch.from_numpy(np.load(kept))
    counts = [len(row["responses"]) for row in rows]
    parts = zip(totals.split(counts), lengths.split(counts), strict=True)
    return [LogProbs(total[None], length[None]) for total, length in parts]


def _turn(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _measured(bench: Bench, split: str, rewards: Sequence[Sequence[Sequence[float]]]) -> dict[str, Measured]:
    """All measures, and the accuracy on each part of the data where it has parts."""
    given = bench.rows.held_out(split)[: bench.size.rows]
    lengths = [log_probs.length[0].numpy() for log_probs in _log_probs(bench, bench.model, split)]
    rows = [
        HeldOut(row["prompt_id"], np.asarray(row.get("scores") or [-r for r in row["ranks"]]), length.astype(float))
        for row, length in zip(given, lengths, strict=True)
    ]
    found = measures(rows, rewards)
    for subset in sorted({row["subset"] for row in given} - {""}):
        places = [i for i, row in enumerate(given) if row["subset"] == subset]
        of_these = [[seed[i] for i in places] for seed in rewards]
        found[f"accuracy, {subset}"] = measures([rows[i] for i in places], of_these)["accuracy"]
    return found


def _baselines(bench: Bench) -> list[Line]:
    """What it takes no training to say."""
    start = _log_probs(bench, bench.model, "test")
    rewards = {
        "the longer answer": [one.length[0].tolist() for one in start],
        "log-prob of the start": [one.total[0].tolist() for one in start],
        "the same per token": [one.mean[0].tolist() for one in start],
    }
    return [Line(name, "", 0, 1, _measured(bench, "test", [given]), None) for name, given in rewards.items()]


if __name__ == "__main__":
    main()
