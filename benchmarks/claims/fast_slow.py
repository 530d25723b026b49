"""OFS-DPO and COFS-DPO in the embedded world, against DPO and against what else aligns over several domains.

    python benchmarks/claims/fast_slow.py [--tiny] [--parts one few domains stream] [--tables] [--folder FOLDER]

    one      one domain: at equal steps, and at equal compute
    few      gradient norms on few pairs, which are soon told apart
    domains  two and four domains, one after another: COFS-DPO by either reading, and its baselines
    stream   a preference that turns into its opposite

Forty minutes of processor. Each run is kept in FOLDER: started again, it goes on where it was stopped. `--tables` only
prints what the csv has, and draws docs/fast-slow.svg and fast-slow-domains.svg. docs/claims.md says what came out.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from fast_slow_domains import FOUR, TRAINED, TWO, UNSEEN, InTurn, continual
from fast_slow_points import FILE, Found, Key, read, write
from fast_slow_runs import ARMS, Sizes, Trial, measured, of_few_pairs, of_one_domain, points_of
from fast_slow_stream import Turn, turned
from fast_slow_tables import print_tables
from picture_fast_slow import draw
from picture_fast_slow_domains import draw_domains

from truenorth.data.cache import cache_folder

PARTS = ("one", "few", "domains", "stream")
BOTH = ("DPO", "OFS-DPO")


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is tried."""

    sizes: Sizes
    few_rate: float  # of the runs on few pairs, and of those with a larger alpha
    sequences: tuple[InTurn, ...]
    turn: Turn

    def trials(self, part: str, seed: int) -> Iterator[Trial]:
        """The runs of a seed that are not over domains."""
        if part == "few":
            yield from (Trial(arm, self.few_rate, seed) for arm in ARMS)
            return
        rates = self.turn.rates if part == "stream" else self.sizes.rates
        yield from (Trial(arm, rate, seed) for rate, arm in itertools.product(rates, BOTH))
        if part == "one":
            yield Trial("OFS-DPO, alpha 0.5", self.few_rate, seed)


RATES, SEEDS = (5e-4, 1e-3, 2e-3), (1, 2, 3)
BOTH_MEMORIES = (*TRAINED, *UNSEEN)
WHOLE = Sweep(
    Sizes(rates=RATES, seeds=SEEDS, steps=24, asked=256, test=96, few=32, passes=16),
    few_rate=1e-3,
    sequences=(
        InTurn(TWO, seeds=SEEDS, requests=128, memory=24, judged=32, readings=BOTH_MEMORIES),
        InTurn(FOUR, seeds=SEEDS, requests=128, memory=16, judged=32),
        InTurn(TWO, seeds=SEEDS, requests=128, memory=24, judged=32, steps=64, readings=BOTH_MEMORIES),
        InTurn(TWO, seeds=SEEDS, requests=128, memory=48, judged=32, steps=64, readings=UNSEEN[:1]),
    ),
    turn=Turn(rates=RATES[1:], asked=256, before=160, after=320),
)
TINY = Sweep(
    Sizes(rates=(1e-3,), seeds=(1, 2), steps=1, asked=24, test=8, few=8, passes=8),
    few_rate=1e-3,
    sequences=(InTurn(TWO, seeds=(1,), requests=16, memory=4, judged=2, steps=1, readings=(*TRAINED, UNSEEN[0])),),
    turn=Turn(rates=(1e-3,), asked=24, before=16, after=16),
)


def run(sweep: Sweep, parts: Sequence[str], folder: Path, file: Path) -> Found:
    """Run what is not kept yet, and write it to the csv as it comes; all that the csv has."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, part in itertools.product(sweep.sizes.seeds, parts):
        for found in of_part(sweep, part, seed, folder):
            write(file, found)
    return read(file)


def of_part(sweep: Sweep, part: str, seed: int, folder: Path) -> Iterator[dict[Key, float]]:
    """What the csv has of each run of a part and a seed."""
    if part == "domains":
        yield from (continual(sequence, seed, folder) for sequence in sweep.sequences if seed in sequence.seeds)
        return
    if part == "stream":
        yield from (turned(trial, sweep.turn, folder) for trial in sweep.trials(part, seed))
        return
    measure, of = measured(sweep.sizes), of_one_domain if part == "one" else of_few_pairs
    for trial in sweep.trials(part, seed):
        yield points_of(part, trial, of(trial, sweep.sizes, measure, folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="four minutes: tries the script, and shows nothing else")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="some of them")
    parser.add_argument("--tables", action="store_true", help="print the tables of the csv and draw it, run nothing")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "claims", help="where runs are kept")
    given = parser.parse_args()
    torch.set_num_threads(1)  # a million weights gain nothing from a second one
    folder = given.folder / ("fast_slow_tiny" if given.tiny else "fast_slow")
    file = folder / "tiny.csv" if given.tiny else FILE
    found = read(file) if given.tables else run(TINY if given.tiny else WHOLE, given.parts, folder, file)
    print_tables(found)
    if not given.tiny:
        draw(found, rate="0.001", turn=WHOLE.turn.at)
        draw_domains(found)


if __name__ == "__main__":
    main()
