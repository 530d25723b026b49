"""COFS-DPO on people's choices: helpful answers first, harmless ones next, by a chat model of 3M weights.

    export TRUENORTH_DATA=FOLDER  # what it holds: real_rows.py; models: in TRUENORTH_MODELS, else FOLDER/../models
    python benchmarks/claims/fast_slow_real.py [--tiny] [--steps 24] [--folder FOLDER]

Ten minutes of processor. A run that was stopped goes on. docs/real-data.md has what came out.
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
from truenorth.evaluate.continual import Continual, summary
from truenorth.files import write_text
from truenorth.optim.update import AdamW
from truenorth.recipe import Recipe

FILE = Path(__file__).parent / "fast_slow_real.csv"
DOMAINS = ("helpful", "harmless")
BASELINES = ("average", "routing", "sequential", "joint")
LONGEST = 160  # tokens of prompt and one answer: longer rows are left out, so that it takes minutes
RATE, RANK, BATCH = 3e-4, 16, 8  # learning rate, of LoRA, pairs
DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True, slots=True)
class Size:
    steps: int  # in each domain
    memory: int  # pairs of each domain
    held_out: int  # pairs of each domain, before those that are too long go
    seed: int = 0

    def recipe(self) -> Recipe:
        found = methods.recipe("cofs_dpo")
        assert found.chase is not None
        assert found.domains is not None
        update = AdamW(learning_rate=RATE, warmup_share=0.1, decay="cosine", max_grad_norm=1.0)
        domains = found.domains.replace(memory=self.memory, baselines=BASELINES)
        return found.replace(update=update, chase=found.chase.replace(interval=8), domains=domains)


def main() -> None:
    set_verbosity_error()  # transformers warns at every trial of this model's attention
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=24, help="optimizer steps in each domain")
    parser.add_argument("--tiny", action="store_true", help="a few steps and rows, to try the script")
    parser.add_argument("--folder", type=Path, help="for rows and runs; else in the cache folder")
    asked = parser.parse_args()
    size = Size(1, 4, 24) if asked.tiny else Size(asked.steps, 24, 250)
    folder = asked.folder or cache_folder() / "fast_slow_real"
    out = folder / ("tiny" if asked.tiny else f"steps-{size.steps}")
    _run(size, folder, out)
    lines = lines_of(Continual.read(out), _numbers(out / "measured.jsonl"))
    for line in lines:
        print("| " + " | ".join(map(str, line)) + " |")
    if not asked.tiny:
        merge(FILE, ("way", "measure", "value", "low", "high"), lines, keys=2)


def _run(size: Size, folder: Path, out: Path) -> None:
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
        size.recipe(), model=str(model), data=files["train"], eval_data=files["test"], out=out, seed=size.seed,
        lora={"rank": RANK}, max_steps=size.steps, batch_size=BATCH, max_length=LONGEST, too_long="drop",
        max_problem_share=1.0, samples=0, tokens_per_micro_batch=2048, precision="float32", resume=out.exists(),
    )  # fmt: skip


def _numbers(file: Path) -> Mapping[str, Mapping[str, Sequence[float]]]:
    """measured.jsonl by name: "WAY COUNT" -> "accuracy/DOMAIN" -> a number for each pair."""
    _, *points = map(json.loads, file.read_text(encoding="utf-8").splitlines())  # the first line says of what
    return {point["point"]: point["rows"] for point in points}


def lines_of(
    found: Continual, numbers: Mapping[str, Mapping[str, Sequence[float]]]
) -> list[tuple[str, str, str, str, str]]:
    """For each way the accuracy of each domain at the end with a 95 % interval over pairs, the average less that of
    COFS-DPO, what is forgotten of the first, and the ratios."""
    ratios = zip(DOMAINS, found.fits[-1].ratios, strict=True)
    lines = [("cofs", f"ratio {name}", f"{ratio:.2f}", "", "") for name, ratio in ratios]
    for way in ("start", "cofs", *BASELINES):
        own = numbers["start" if way == "start" else f"{way} {len(DOMAINS)}"]
        for domain in DOMAINS:
            values = np.asarray(own[f"accuracy/{domain}"])
            lines.append((way, f"accuracy {domain}", *_interval([values])))
        cofs = numbers[f"cofs {len(DOMAINS)}"]
        differences = [np.asarray(own[f"accuracy/{d}"]) - np.asarray(cofs[f"accuracy/{d}"]) for d in DOMAINS]
        lines.append((way, "average less cofs", *_interval(differences)))
        if way in found.ways and "forgetting" in (sums := summary(found.ways[way]["accuracy"])):
            lines.append((way, "forgetting", f"{sums['forgetting']:.3f}", "", ""))
    return lines


def _interval(parts: Sequence[np.ndarray]) -> tuple[str, str, str]:
    """The mean over parts of their means, and its 95 % interval by a bootstrap of the pairs within each part."""
    rng = np.random.default_rng(0)
    draws = np.mean([part[rng.integers(len(part), size=(DRAWS, len(part)))].mean(1) for part in parts], axis=0)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{np.mean([part.mean() for part in parts]):.3f}", f"{low:.3f}", f"{high:.3f}"


if __name__ == "__main__":
    main()
