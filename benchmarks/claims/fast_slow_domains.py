"""Domains one after another: runs of `cofs_dpo` with all of its baselines."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drawn import SFT
from fast_slow_points import Key
from fast_slow_rows import of_domains
from fast_slow_runs import BETA, INTERVAL, RANK
from trained import MAX_LENGTH, once, update

from truenorth import align, methods
from truenorth.recipe import Recipe

TWO, FOUR = ("praise", "blunt"), ("praise", "blunt", "verse", "brief")
BASELINES = ("average", "routing", "sequential", "replay", "joint")
RATE = 1e-3
WHOLE = "plain sum"


@dataclass(frozen=True, slots=True)
class InTurn:
    """What is tried."""

    domains: tuple[str, ...]
    seeds: Sequence[int]
    steps: int  # of 16 pairs, in each domain
    requests: int  # of each domain that are trained on
    memory: int  # pairs that are kept of each domain
    judged: int  # requests of each domain that are answered
    sums: bool = False  # whether the adapters' plain sum is tried too
    rate: float = RATE

    def recipe(self, *, whole: bool = False) -> Recipe:
        """COFS-DPO with OFS-DPO in each domain, and its baselines; `whole`: every adapter with the ratio 1, alone."""
        found = methods.recipe("cofs_dpo", inner={"kind": "dpo", "beta": BETA}).replace(update=update(self.rate))
        assert found.chase is not None
        assert found.domains is not None
        ratios, baselines = ((1.0,) * len(self.domains), ()) if whole else (None, BASELINES)
        asked = found.domains.replace(memory=self.memory, judged=self.judged, baselines=baselines, ratios=ratios)
        return found.replace(chase=found.chase.replace(interval=INTERVAL), domains=asked)


def continual(sequence: InTurn, seed: int, folder: Path) -> dict[Key, float]:
    """What the csv has of a sequence: matrices of accuracy and reward by way, their summaries, and the ratios."""
    found = points(_run(sequence, seed, folder, whole=False), sequence, seed)
    if sequence.sums:
        own = points(_run(sequence, seed, folder, whole=True), sequence, seed)
        found |= {replace(key, arm=WHOLE): value for key, value in own.items() if not key.name.startswith("ratio")}
    return found


def _run(sequence: InTurn, seed: int, folder: Path, *, whole: bool) -> Mapping[str, Any]:
    """continual.json of the run, which is made if it is not kept."""
    name = f"domains-{len(sequence.domains)}-{sequence.rate:g}-seed{seed}{'-whole' * whole}"

    def make() -> Any:
        work = folder / name
        shutil.rmtree(work / "run", ignore_errors=True)
        train, held_out = of_domains(work, seed=seed, requests=sequence.requests, names=sequence.domains)
        align(
            sequence.recipe(whole=whole), model=SFT, data=[{"path": str(file)} for file in train], out=work / "run",
            seed=seed, eval_data=[{"path": str(file)} for file in held_out], judge="fast_slow_rows:reward",
            lora={"rank": RANK}, max_steps=sequence.steps, batch_size=16, max_length=MAX_LENGTH, precision="float32",
            samples=0, tokens_per_micro_batch=8192, pairing="none",
        )  # fmt: skip
        found = json.loads((work / "run" / "continual.json").read_text())
        shutil.rmtree(work)
        return found

    return once(folder / f"{name}.json", make)


def points(found: Mapping[str, Any], sequence: InTurn, seed: int) -> dict[Key, float]:
    """continual.json as numbers of the csv: `at` is how many domains were learned, or `all`."""
    part = f"{len(sequence.domains)} domains"

    def key(way: str, at: int | str, name: str) -> Key:
        return Key(part, way, f"{sequence.rate:g}", str(seed), str(at), name)

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
