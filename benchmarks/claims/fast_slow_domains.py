"""Domains one after another: runs of `cofs_dpo`, by either reading of its ratios, and all of its baselines."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from drawn import SFT
from fast_slow_points import Key
from fast_slow_rows import of_domains
from fast_slow_runs import BETA, INTERVAL, RANK
from trained import MAX_LENGTH, once, update

from truenorth import align, methods
from truenorth.recipe import Recipe

TWO, FOUR = ("praise", "blunt"), ("praise", "blunt", "verse", "brief")
RATE, STEPS = 1e-3, 16
Within = Literal["simplex", "box"]  # where the ratios lie
BASELINES = {"simplex": ("average", "routing", "sequential", "replay", "joint"), "box": ("plain_sum",)}  # once each


@dataclass(frozen=True, slots=True)
class InTurn:
    """What is tried."""

    domains: tuple[str, ...]
    seeds: Sequence[int]
    requests: int  # of each domain that are trained on
    memory: int  # pairs that are kept of each domain
    judged: int  # requests of each domain that are answered
    rate: float = RATE
    steps: int = STEPS  # of 16 pairs, in each domain

    def __str__(self) -> str:
        """The part of the csv."""
        return f"{len(self.domains)} domains" + f", {self.steps} steps" * (self.steps != STEPS)

    def recipe(self, within: Within) -> Recipe:
        """COFS-DPO with OFS-DPO in each domain, and its baselines."""
        found = methods.recipe("cofs_dpo", inner={"kind": "dpo", "beta": BETA}).replace(update=update(self.rate))
        assert found.chase is not None
        assert found.domains is not None
        asked = found.domains.replace(
            memory=self.memory, judged=self.judged, baselines=BASELINES[within], within=within
        )
        return found.replace(chase=found.chase.replace(interval=INTERVAL), domains=asked)


def continual(sequence: InTurn, seed: int, folder: Path) -> dict[Key, float]:
    """What the csv has of a sequence: matrices of accuracy and reward by way, their summaries, and the ratios."""
    found = dict[Key, float]()
    for within in get_args(Within):
        found |= points(_run(sequence, within, seed, folder), sequence, within, seed)
    return found


def _run(sequence: InTurn, within: Within, seed: int, folder: Path) -> Mapping[str, Any]:
    """continual.json of the run, which is made if it is not kept."""
    length = f"-steps{sequence.steps}" * (sequence.steps != STEPS)
    name = f"domains-{len(sequence.domains)}{length}-{sequence.rate:g}-seed{seed}{'-box' * (within == 'box')}"

    def make() -> Any:
        work = folder / name
        shutil.rmtree(work / "run", ignore_errors=True)
        train, held_out = of_domains(work, seed=seed, requests=sequence.requests, names=sequence.domains)
        align(
            sequence.recipe(within), model=SFT, data=[{"path": str(file)} for file in train], out=work / "run",
            seed=seed, eval_data=[{"path": str(file)} for file in held_out], judge="fast_slow_rows:reward",
            lora={"rank": RANK}, max_steps=sequence.steps, batch_size=16, max_length=MAX_LENGTH, precision="float32",
            samples=0, tokens_per_micro_batch=8192, pairing="none",
        )  # fmt: skip
        found = json.loads((work / "run" / "continual.json").read_text())
        shutil.rmtree(work)
        return found

    return once(folder / f"{name}.json", make)


def points(found: Mapping[str, Any], sequence: InTurn, within: Within, seed: int) -> dict[Key, float]:
    """continual.json as numbers of the csv: `at` is how many domains were learned, or `all`."""
    part, arms = str(sequence), {"cofs": f"cofs, {within}", "plain_sum": "plain sum"}

    def key(way: str, at: int | str, name: str) -> Key:
        return Key(part, arms.get(way, way), f"{sequence.rate:g}", str(seed), str(at), name)

    numbers = dict[Key, float]()
    for way, own in found["ways"].items():
        for measure, rows in own.items():
            for at, row in enumerate(rows):
                for domain, value in zip(sequence.domains, row or (), strict=False):
                    numbers[key(way, at, f"{measure} {domain}")] = value
            for name, value in found["summary"][way][measure].items():
                numbers[key(way, "all", f"{measure} {name}")] = value
    for domain, ratio in zip(sequence.domains, found["fits"][-1]["ratios"], strict=True):
        numbers[key("cofs", "all", f"ratio {domain}")] = ratio
    return numbers
