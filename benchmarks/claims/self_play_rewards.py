"""Self-play where a reward is: MPO, MPO-RT, online DPO and RLOO at equal KL, on the embedded world's reviews.

    python benchmarks/claims/self_play_rewards.py [--tiny] [--seeds 1 2] [--arms MPO RLOO] [--tables] [--folder FOLDER]

Runs are written to self_play_rewards.csv as they end; those that it has are not run again. `--tables` only prints what
it has, and draws docs/self-play-rewards.svg. docs/claims.md says what came out.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from drawn import SFT, prompts
from picture_self_play_rewards import draw
from points_file import cells, merge
from self_play_arms import Arm, named
from self_play_measures import Answers
from self_play_rewards_arms import ARMS, LONGER, RATES, SHORT, TUNED_BY, at_rate, family, looks
from self_play_rewards_tables import FILE, HEADER, KEYS, NUMBERS, START, Point, chosen, print_tables, read
from self_play_runs import played

from truenorth.data.cache import cache_folder
from truenorth.errors import DataError, NumericsError
from truenorth.models.load import load_model
from truenorth.models.logprobs import Model


@dataclass(frozen=True, slots=True)
class Bench:
    """Where runs go, and how large they are."""

    file: Path  # the csv
    asked: int  # prompts that are measured with
    rates: Sequence[float]
    steps: int | None = None  # None: as the arm says

    def all(self, arms: Sequence[Arm], seeds: Sequence[int]) -> None:
        """Tune the learning rate of each family, then run every seed at it."""
        self.start()
        for arm in ARMS:
            if arm.name in {family(one.name) for one in arms}:
                for rate in self.rates:
                    self.run(replace(arm, steps=SHORT), rate, TUNED_BY)
        rates = chosen(read(self.file))
        for seed in seeds:
            for arm in arms:
                if seed in arm.seeds:
                    self.run(arm, rates[family(arm.name)], seed)

    def start(self) -> None:
        """Measure the start, which all runs share, on both lists of prompts."""
        for seed, which in ((TUNED_BY, "tune"), (1, "test")):
            if (START, 0.0, seed) not in read(self.file):
                model = load_model(SFT).eval()
                self._write(START, 0.0, seed, {0: Answers(model, prompts(which)[: self.asked]).of(model)})

    def _write(self, name: str, rate: float, seed: int, found: Mapping[int, Point]) -> None:
        lines = [[name, f"{rate:g}", seed, step, *cells(point, NUMBERS)] for step, point in found.items()]
        merge(self.file, HEADER, lines, keys=len(KEYS))

    def run(self, arm: Arm, rate: float, seed: int) -> None:
        """Train, looking at some steps, unless the csv has it."""
        if (arm.name, rate, seed) in read(self.file):
            return
        began, found, steps = time.process_time(), dict[int, Point](), self.steps or arm.steps
        measure = Answers(load_model(SFT).eval(), prompts("tune" if seed == TUNED_BY else "test")[: self.asked])

        def look(model: Model, step: int) -> None:
            if step in looks(steps):
                found[step] = measure.of(model)

        with tempfile.TemporaryDirectory() as out:
            try:
                played(at_rate(arm, rate), SFT, prompts("train"), Path(out), seed=seed, steps=steps, look=look)
            except (NumericsError, DataError) as error:  # no answers of different worth are left, for one
                print(f"{arm.name}, rate {rate:g}, seed {seed}: {error}", flush=True)
        self._write(arm.name, rate, seed, found)
        spent = time.process_time() - began
        print(f"{arm.name}, rate {rate:g}, seed {seed}: {spent:.0f} s of processor, {found[max(found)]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="two minutes: tries the script, and shows nothing else")
    parser.add_argument("--seeds", type=int, nargs="*", default=(1, 2, 3), help="some of the seeds")
    parser.add_argument("--arms", nargs="*", help="some of the runs, by their names")
    parser.add_argument("--tables", action="store_true", help="print the tables of the csv and draw it, run nothing")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "claims", help="where --tiny writes")
    given = parser.parse_args()
    bench = Bench(FILE, 64, RATES)
    if given.tiny:
        given.folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(given.folder / "self_play_rewards_tiny.csv", 4, RATES[:1], steps=2)
    if not given.tables:
        torch.set_num_threads(1)  # a million weights gain nothing from a second one
        bench.all(named(given.arms, [*ARMS, *LONGER]), [1] if given.tiny else given.seeds)
    if not given.tiny:
        print_tables(read(FILE))
        draw(read(FILE))


if __name__ == "__main__":
    main()
