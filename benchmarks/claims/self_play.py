"""Self-play where no style is best: the duality gap of MPO and of others in the embedded world.

    python benchmarks/claims/self_play.py [--tiny] [--seeds 1 2] [--arms MPO SPPO] [--tables] [--folder FOLDER]

Runs are written to self_play.csv as they end; those that it has are not run again, so that a sweep that was killed
goes on. Take the file away to do all anew: 20 minutes of processor. `--tables` only prints what the csv has, and draws
docs/self-play.svg. docs/claims.md says what came out.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from picture_self_play import draw
from points_file import cells, merge
from self_play_arms import ARMS, Arm, named
from self_play_game import STYLES, Shares, duality_gap, requests, start_model
from self_play_measures import Answers
from self_play_runs import played
from self_play_tables import FILE, HEADER, KEYS, NUMBERS, print_tables, read

from truenorth.data.cache import cache_folder
from truenorth.errors import DataError, NumericsError
from truenorth.models.load import load_model
from truenorth.models.logprobs import Model

EVERY = 5  # steps from one look to the next
Point = dict[str, float]


@dataclass(frozen=True, slots=True)
class Bench:
    """What is run, and where it goes."""

    folder: Path
    file: Path  # the csv
    steps: int | None  # None: as the arm says
    asked: int  # requests that are measured with

    def run(self, arm: Arm, seed: int) -> None:
        """Train, looking every few steps, unless the csv has it."""
        if (arm.name, seed) in {(name, its) for name, its, _ in read(self.file)}:
            return
        began, found = time.process_time(), dict[int, Point]()
        steps = self.steps or arm.steps
        start = start_model(self.folder)
        look = self._looks(start, steps, found)
        with tempfile.TemporaryDirectory() as out:
            try:
                played(arm, start, requests(128, seed=seed), Path(out), seed=seed, steps=steps, look=look)
            except (NumericsError, DataError) as error:  # no answers of different worth are left, for one
                print(f"{arm.name}, seed {seed}: {error}", flush=True)
        lines = [[arm.name, seed, step, *cells(point, NUMBERS)] for step, point in found.items()]
        merge(self.file, HEADER, lines, keys=len(KEYS))
        print(
            f"{arm.name}, seed {seed}: {time.process_time() - began:.0f} s of processor, {found[max(found)]}",
            flush=True,
        )

    def _looks(self, start: str, steps: int, found: dict[int, Point]) -> Callable[[Model, int], None]:
        """What is measured on the way, the shares of styles, and at the end of answers that are drawn."""
        asked = requests(self.asked, seed=0)
        answers, shares = Answers(load_model(start).eval(), asked), Shares(asked)

        def look(model: Model, step: int) -> None:
            if step % EVERY and step != steps:
                return
            mixtures = shares.of(model)
            point = dict(zip(STYLES, mixtures.mean(0).tolist(), strict=True)) | {"gap": duality_gap(mixtures)}
            found[step] = point | (answers.of(model) if step == steps else {})

        return look


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="two minutes: tries the script, and shows nothing else")
    parser.add_argument("--seeds", type=int, nargs="*", default=(1, 2, 3), help="some of the seeds")
    parser.add_argument("--arms", nargs="*", help="some of the runs, by their names")
    parser.add_argument("--tables", action="store_true", help="print the tables of the csv and draw it, run nothing")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "claims", help="where the start model is kept")
    given = parser.parse_args()
    if not given.tables:
        torch.set_num_threads(1)  # a million weights gain nothing from a second one
        bench = tiny(given.folder) if given.tiny else whole(given.folder)
        for arm, seed in plan(given.arms, [1] if given.tiny else given.seeds):
            bench.run(arm, seed)
    if not given.tiny:
        print_tables(read(FILE))
        draw(read(FILE))


def plan(names: Sequence[str] | None, seeds: Sequence[int]) -> list[tuple[Arm, int]]:
    """All runs, seed by seed. Raises SystemExit for a name of none."""
    arms = named(names, ARMS)
    return [(arm, seed) for seed in seeds for arm in arms if seed in arm.seeds]


def whole(folder: Path) -> Bench:
    return Bench(folder / "self_play", FILE, None, asked=64)


def tiny(folder: Path) -> Bench:
    return Bench(folder / "self_play", folder / "self_play" / "tiny.csv", 3, asked=4)


if __name__ == "__main__":
    main()
