"""Domains one after another: runs of `cofs_dpo`, by either reading of its ratios and of memory, and its baselines."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drawn import SFT
from fast_slow_points import Key
from fast_slow_rows import of_domains
from fast_slow_runs import BETA, INTERVAL, RANK
from trained import MAX_LENGTH, once, update

from truenorth import align, methods
from truenorth.domains import Baseline, MemoryOf, Region
from truenorth.recipe import Recipe

TWO, FOUR = ("praise", "blunt"), ("praise", "blunt", "verse", "brief")
RATE, STEPS, MEMORY = 1e-3, 16, 24


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the ratios lie, and whether memory is trained on; and what is measured beside them, once each."""

    within: Region
    memory_of: MemoryOf
    baselines: tuple[Baseline, ...]

    def arm(self, way: str) -> str:
        """A way of continual.json, as the csv names it. Sequential, replay and joint are trained on all rows."""
        name = {"cofs": f"cofs, {self.within}", "plain_sum": "plain sum"}.get(way, way)
        return name + ", unseen" * (self.memory_of == "unseen")


TRAINED = (
    Reading("simplex", "trained", ("average", "routing", "sequential", "replay", "joint")),
    Reading("box", "trained", ("plain_sum",)),
)
UNSEEN = (Reading("box", "unseen", ("average", "plain_sum", "routing")), Reading("simplex", "unseen", ()))


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
    readings: Sequence[Reading] = TRAINED

    def __str__(self) -> str:
        """The part of the csv."""
        larger = f", memory {self.memory}" * (self.memory > MEMORY)
        return f"{len(self.domains)} domains" + f", {self.steps} steps" * (self.steps != STEPS) + larger

    def recipe(self, reading: Reading) -> Recipe:
        """COFS-DPO with OFS-DPO in each domain, and its baselines."""
        found = methods.recipe("cofs_dpo", inner={"kind": "dpo", "beta": BETA}).replace(update=update(self.rate))
        assert found.chase is not None
        assert found.domains is not None
        asked = found.domains.replace(
            memory=self.memory, judged=self.judged, baselines=reading.baselines, within=reading.within,
            memory_of=reading.memory_of,
        )  # fmt: skip
        return found.replace(chase=found.chase.replace(interval=INTERVAL), domains=asked)


def continual(sequence: InTurn, seed: int, folder: Path) -> dict[Key, float]:
    """What the csv has of a sequence: matrices of accuracy and reward by way, their summaries, and the ratios."""
    found = dict[Key, float]()
    for reading in sequence.readings:
        found |= points(_run(sequence, reading, seed, folder), sequence, reading, seed)
    return found


def _run(sequence: InTurn, reading: Reading, seed: int, folder: Path) -> Mapping[str, Any]:
    """continual.json of the run, which is made if it is not kept."""
    length = f"-steps{sequence.steps}" * (sequence.steps != STEPS)
    length += f"-memory{sequence.memory}" * (sequence.memory > MEMORY)
    kind = "-box" * (reading.within == "box") + "-unseen" * (reading.memory_of == "unseen")
    name = f"domains-{len(sequence.domains)}{length}-{sequence.rate:g}-seed{seed}{kind}"

    def make() -> Any:
        work = folder / name
        shutil.rmtree(work / "run", ignore_errors=True)
        train, held_out = of_domains(work, seed=seed, requests=sequence.requests, names=sequence.domains)
        align(
            sequence.recipe(reading), model=SFT, data=[{"path": str(file)} for file in train], out=work / "run",
            seed=seed, eval_data=[{"path": str(file)} for file in held_out], judge="fast_slow_rows:reward",
            lora={"rank": RANK}, max_steps=sequence.steps, batch_size=16, max_length=MAX_LENGTH, precision="float32",
            samples=0, tokens_per_micro_batch=8192, pairing="none",
        )  # fmt: skip
        found = json.loads((work / "run" / "continual.json").read_text())
        shutil.rmtree(work)
        return found

    return once(folder / f"{name}.json", make)


def points(found: Mapping[str, Any], sequence: InTurn, reading: Reading, seed: int) -> dict[Key, float]:
    """continual.json as numbers of the csv: `at` is how many domains were learned, or `all`."""
    part = str(sequence)

    def key(way: str, at: int | str, name: str) -> Key:
        return Key(part, reading.arm(way), f"{sequence.rate:g}", str(seed), str(at), name)

    numbers = dict[Key, float]()
    for way, own in found["ways"].items():
        for measure, rows in own.items():
            for at, row in enumerate(rows):
                for domain, value in zip(sequence.domains, row or (), strict=False):
                    numbers[key(way, at, f"{measure} {domain}")] = value
            for name, value in found["summary"][way][measure].items():
                numbers[key(way, "all", f"{measure} {name}")] = value
    fit = found["fits"][-1]
    for domain, ratio in zip(sequence.domains, fit["ratios"], strict=True):
        numbers[key("cofs", "all", f"ratio {domain}")] = ratio
    for name in ("loss", "at_equal", "at_ones", "at_zeros"):
        if fit.get(name) is not None:
            numbers[key("cofs", "all", f"memory {name}")] = fit[name]
    return numbers
