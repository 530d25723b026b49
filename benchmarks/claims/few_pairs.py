"""ODPO and MMPO against DPO with few pairs, whose scores they read: reward, KL and held-out accuracy.

    python benchmarks/claims/few_pairs.py [--tiny] [--folder FOLDER]

A quarter of an hour on one core. Each run is kept in FOLDER: started again, it goes on where it was stopped.
"""

import argparse
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from drawn import Row, pairs, prompts, rated, write_rows
from few_pairs_tables import Found, print_tables, write_points
from measured import Measure
from trained import Point, best_rate, once, points, update
from trials import PairTrial

from truenorth import methods
from truenorth.data.cache import cache_folder
from truenorth.recipe import Recipe
from truenorth.session import Session

BETA = 0.5  # of all three
# The median difference of a pair's scores is 1 here, so that ODPO asks of the median pair what DPO asks of it, and
# MMPO believes its label with a probability of 0.9. Neither is tuned.
OWN = {"dpo": {}, "odpo": {"alpha": 1.0}, "mmpo": {"gamma": 2.2}}
PRICE = BETA**2  # of a nat, when learning rates are chosen: as in exo_frontier.py


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is tried. A seed has pairs of its own, the fewer being the first of the more."""

    counts: Sequence[int] = (50, 100, 200, 400)  # pairs
    seeds: Sequence[int] = (1, 2, 3)  # none is 0, the one for tuning
    rates: Sequence[float] = (6.25e-5, 1.25e-4, 2.5e-4, 5e-4)  # learning rates
    tuned_with: int = 200  # pairs
    epochs: int = 2
    batch_size: int = 10  # pairs
    test: int = 128  # prompts


TINY = Sweep(counts=(20,), seeds=(1, 2), rates=(1e-3,), tuned_with=20, epochs=1, test=16)


@dataclass(frozen=True, slots=True)
class Bench:
    """A sweep and the folder that keeps its runs."""

    sweep: Sweep
    folder: Path

    def tuned(self) -> dict[str, float]:
        """Each method's learning rate: the one with the greatest reward - PRICE * KL, on prompts of no test."""
        sweep = self.sweep
        measure = Measure(prompts("tune")[: sweep.test], answers=1, seed=100)
        chosen: dict[str, float] = {}
        for method in OWN:
            trials = {rate: PairTrial(method, sweep.tuned_with, rate, 0) for rate in sweep.rates}
            chosen[method] = best_rate({rate: self.run(t, measure, "tune") for rate, t in trials.items()}, PRICE)
        return chosen

    def found(self, rates: Mapping[str, float]) -> Found:
        sweep = self.sweep
        measure = Measure(prompts("test")[: sweep.test], answers=2, seed=200)
        start = once(self.folder / "sft.json", lambda: measure.policy(measure.reference))
        trials = [
            PairTrial(method, count, rates[method], seed)
            for seed, count, method in itertools.product(sweep.seeds, sweep.counts, OWN)
        ]
        return Found(start, {trial: self.run(trial, measure, "test")[-1] for trial in trials})

    def run(self, trial: PairTrial, measure: Measure, held_out: str) -> list[Point]:
        """The one point of a run: its end."""

        def look(session: Session, point: Point) -> Point:
            return point | measure.session(session) | measure.accuracy(session)

        def train() -> list[Point]:
            rows = self.rows("train", trial.pairs, trial.seed)
            unseen = self.rows(held_out, None, 400)
            steps = self.sweep.epochs * trial.pairs // self.sweep.batch_size
            size = self.sweep.batch_size
            return points(recipe(trial), (rows, unseen), seed=trial.seed, batch_size=size, at=[steps], look=look)

        return once(self.folder / f"{trial.name}.json", train)

    def rows(self, which: str, count: int | None, seed: int) -> Path:
        """The file of the first `count` pairs, or all."""
        file = self.folder / f"pairs-{which}-{count or 'all'}-seed{seed}.jsonl"
        if not file.exists():
            asked = prompts(which)
            asked = asked[: self.sweep.test] if which != "train" else asked
            drawn = rated(asked, answers=2 if which == "train" else 4, seed=seed, folder=self.folder / which)
            found = pairs(drawn)[:count]
            if count is not None and len(found) < count:
                raise ValueError(f"{count} pairs were asked for, and {len(found)} of {len(asked)} are no ties.")
            write_rows(file, in_units(found, self.unit()))
        return file

    def unit(self) -> float:
        """The median difference of the scores of a pair, among those that tuning may see."""
        drawn = rated(prompts("tune")[: self.sweep.test], answers=4, seed=400, folder=self.folder / "tune")
        return statistics.median(abs(row["scores"][0] - row["scores"][1]) for row in pairs(drawn))


def in_units(rows: Sequence[Row], unit: float) -> list[Row]:
    return [row | {"scores": [score / unit for score in row["scores"]]} for row in rows]


def recipe(trial: PairTrial) -> Recipe:
    return methods.recipe(trial.method, beta=BETA, **OWN[trial.method]).replace(update=update(trial.learning_rate))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="under a minute: tries the script, and shows nothing else")
    parser.add_argument("--seeds", type=int, nargs="*", help="some of those of the sweep")
    parser.add_argument("--rates", type=float, nargs="*", help="the same, of learning rates; one: every method's")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "claims", help="where runs are kept")
    given = parser.parse_args()
    torch.set_num_threads(1)  # a million weights gain nothing from a second one
    sweep = TINY if given.tiny else Sweep()
    sweep = replace(sweep, seeds=given.seeds or sweep.seeds, rates=given.rates or sweep.rates)
    bench = Bench(sweep, given.folder / ("few_pairs_tiny" if given.tiny else "few_pairs"))
    found = bench.found(bench.tuned())
    print_tables(found, PRICE)
    if not given.tiny:
        write_points(found)


if __name__ == "__main__":
    main()
