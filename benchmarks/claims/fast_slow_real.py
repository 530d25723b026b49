"""COFS-DPO on people's choices: helpful answers first, harmless ones next, by a chat model of 3M weights.

    export TRUENORTH_DATA=FOLDER  # what it holds: real_rows.py; models: in TRUENORTH_MODELS, else FOLDER/../models
    python benchmarks/claims/fast_slow_real.py [--tiny] [--steps 24] [--seeds 0 1] [--folder FOLDER]

Fifteen minutes of processor a seed. A run that was stopped goes on. docs/real-data.md has what came out.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from points_file import merge
from real_rows import data_folder, rows_of
from transformers.utils.logging import set_verbosity_error

from truenorth import align, methods
from truenorth.data.cache import cache_folder
from truenorth.evaluate.continual import Continual
from truenorth.files import write_text
from truenorth.optim.update import AdamW
from truenorth.recipe import Recipe

FILE = Path(__file__).parent / "fast_slow_real.csv"
DOMAINS = ("helpful", "harmless")
BASELINES = {"simplex": ("average", "routing", "sequential", "joint"), "box": ("plain_sum",)}  # once each
Numbers = Mapping[str, Sequence[float]]  # "accuracy/DOMAIN" -> a number for each pair
LONGEST = 160  # tokens of prompt and one answer: longer rows are left out, so that it takes minutes
RATE, RANK, BATCH = 3e-4, 16, 8  # learning rate, of LoRA, pairs
DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True, slots=True)
class Size:
    steps: int  # in each domain
    memory: int  # pairs of each domain
    held_out: int  # pairs of each domain, before those that are too long go
    seed: int

    def recipe(self, within: str) -> Recipe:
        found = methods.recipe("cofs_dpo")
        assert found.chase is not None
        assert found.domains is not None
        update = AdamW(learning_rate=RATE, warmup_share=0.1, decay="cosine", max_grad_norm=1.0)
        domains = found.domains.replace(memory=self.memory, baselines=BASELINES[within], within=within)
        return found.replace(update=update, chase=found.chase.replace(interval=8), domains=domains)


def main() -> None:
    set_verbosity_error()  # transformers warns at every trial of this model's attention
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=24, help="optimizer steps in each domain")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--tiny", action="store_true", help="a few steps and rows, to try the script")
    parser.add_argument("--folder", type=Path, help="for rows and runs; else in the cache folder")
    asked = parser.parse_args()
    folder = asked.folder or cache_folder() / "fast_slow_real"
    for seed in asked.seeds[:1] if asked.tiny else asked.seeds:
        size = Size(1, 4, 24, seed) if asked.tiny else Size(asked.steps, 24, 250, seed)
        runs = {within: folder / f"steps-{size.steps}-seed{seed}-{within}" for within in BASELINES}
        for within, out in runs.items():
            if not (out / "continual.json").exists():
                _run(size, within, folder, out)
        lines = lines_of(size, runs)
        for line in lines:
            print("| " + " | ".join(line) + " |")
        if not asked.tiny:
            merge(FILE, ("steps", "seed", "way", "measure", "value", "low", "high"), lines, keys=4)


def _run(size: Size, within: str, folder: Path, out: Path) -> None:
    """The sequence with its baselines, from where it is."""
    model = Path(os.environ.get("TRUENORTH_MODELS") or data_folder().parent / "models") / "tinytalk-3M"
    if not (model / "config.json").is_file():
        raise SystemExit(f"There is no model in {model}. Set TRUENORTH_MODELS to the folder that has tinytalk-3M.")
    rows = rows_of("hh_rlhf", str(model), folder / "rows")
    files: dict[str, list[dict[str, str]]] = {"train": [], "test": []}
    for split, domain in ((split, domain) for split in files for domain in DOMAINS):
        file = folder / f"{split}-{size.held_out}" / f"{domain}.jsonl"
        own = [row for row in rows.held_out(split) if row["subset"] == domain]
        file.parent.mkdir(exist_ok=True)
        own = own[: size.held_out] if split == "test" else own
        if not file.exists():
            write_text(file, "".join(json.dumps(row) + "\n" for row in own))
        files[split].append({"path": str(file)})
    align(
        size.recipe(within), model=str(model), data=files["train"], eval_data=files["test"], out=out, seed=size.seed,
        lora={"rank": RANK}, max_steps=size.steps, batch_size=BATCH, max_length=LONGEST, too_long="drop",
        max_problem_share=1.0, samples=0, tokens_per_micro_batch=2048, precision="float32", resume=out.exists(),
    )  # fmt: skip


def _numbers(file: Path) -> Mapping[str, Numbers]:
    """measured.jsonl by name, "WAY COUNT"."""
    _, *points = map(json.loads, file.read_text(encoding="utf-8").splitlines())  # the first line says of what
    return {point["point"]: point["rows"] for point in points}


def lines_of(size: Size, runs: Mapping[str, Path]) -> list[tuple[str, ...]]:
    """For each way the accuracy of each domain at the end with a 95 % interval over pairs, the average less that of
    COFS-DPO in the box, what is forgotten of the first domain; and the ratios by either reading."""
    lines, ends, lost = list[tuple[str, ...]](), dict[str, Numbers](), dict[str, np.ndarray]()
    for within, out in runs.items():
        found, numbers = Continual.read(out), _numbers(out / "measured.jsonl")
        fit = found.fits[-1]
        lines += [
            (f"cofs, {within}", f"ratio {name}", f"{ratio:.2f}", "", "")
            for name, ratio in zip(DOMAINS, fit.ratios, strict=True)
        ]
        losses = {f"cofs, {within}": fit.loss, "average": fit.at_equal, "plain_sum": fit.at_ones}
        lines += [(arm, "loss on memory", f"{loss:.4f}", "", "") for arm, loss in losses.items() if loss is not None]
        for way in found.ways:
            arm = f"cofs, {within}" if way == "cofs" else way
            ends[arm] = numbers[f"{way} 2"]
            if f"{way} 1" in numbers:  # joint has one end alone
                lost[arm] = _of(numbers[f"{way} 1"], DOMAINS[0]) - _of(ends[arm], DOMAINS[0])
        ends["start"] = numbers["start"]
    for way, own in ends.items():
        for domain in DOMAINS:
            lines.append((way, f"accuracy {domain}", *_interval([_of(own, domain)])))
        lines.append((way, "average", *_interval([_of(own, domain) for domain in DOMAINS])))
        differences = [_of(own, domain) - _of(ends["cofs, box"], domain) for domain in DOMAINS]
        lines.append((way, "average less cofs, box", *_interval(differences)))
        if way in lost:
            lines.append((way, "forgetting", *_interval([lost[way]])))
    return [(str(size.steps), str(size.seed), *line) for line in lines]


def _of(numbers: Numbers, domain: str) -> np.ndarray:
    return np.asarray(numbers[f"accuracy/{domain}"])


def _interval(parts: Sequence[np.ndarray]) -> tuple[str, str, str]:
    """The mean over parts of their means, and its 95 % interval by a bootstrap of the pairs within each part."""
    rng = np.random.default_rng(0)
    draws = np.mean([part[rng.integers(len(part), size=(DRAWS, len(part)))].mean(1) for part in parts], axis=0)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{np.mean([part.mean() for part in parts]):.3f}", f"{low:.3f}", f"{high:.3f}"


if __name__ == "__main__":
    main()
