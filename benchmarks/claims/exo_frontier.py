"""EXO's claim in the embedded world: oracle reward against KL(policy || SFT), for EXO and DPO, from pairs and from
rewards of 2, 4 and 8 answers. docs/claims.md has what came out.

    python benchmarks/claims/exo_frontier.py [--tiny] [--folder FOLDER]

Three quarters of an hour on one core. Each run is kept in FOLDER: started again, it goes on where it was stopped.
"""

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from drawn import cut, prompts, rated, write_rows
from frontier_tables import Found, print_tables, write_points
from measured import Measure, Optimum, log_probs, optimum
from picture_frontier import draw
from trained import Point, best_rate, once, points, update
from trials import Trial

from truenorth import methods
from truenorth.data.cache import cache_folder
from truenorth.recipe import Recipe
from truenorth.session import Session

TUNED_AT = 0.5  # the beta at which learning rates are chosen, and policies held against the optimum

TUNED_WITH = {"dpo": 2, "exo": 2, "dpo_rw": 4, "exo_rw": 4}  # answers to a prompt, for every K of the method


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is tried. The answers that are trained on, and their order, differ with the seed."""

    arms: Sequence[tuple[str, int]]  # method, K
    betas: Sequence[float]  # with rewards it is their temperature too, as in the authors' settings
    rates: Sequence[float]  # learning rates
    seeds: Sequence[int]  # none is 0, the one for tuning
    at: Sequence[int]  # steps after which a run is measured
    levels: Sequence[float]  # nats of KL at which methods are compared
    train: int = 512  # prompts
    test: int = 128  # prompts
    sft_answers: int = 32  # to a test prompt, by which the optimum is known
    ranked: int = 64  # test prompts whose SFT answers are scored under a policy
    batch_size: int = 16  # prompts


WHOLE = Sweep(
    arms=[("dpo", 2), ("exo", 2), *itertools.product(("dpo_rw", "exo_rw"), (2, 4, 8))],
    betas=(0.5, 0.2, 1.0), rates=(6.25e-5, 1.25e-4, 2.5e-4, 5e-4), seeds=(1, 2, 3), at=(8, 16, 32),
    levels=(0.5, 0.75, 1.0),
)  # fmt: skip
TINY = Sweep(
    arms=[("dpo", 2), ("exo", 2), ("dpo_rw", 4), ("exo_rw", 4)], betas=(0.5,), rates=(1e-3,), seeds=(1, 2),
    at=(2, 4), levels=(0.05, 0.1), train=32, test=16, sft_answers=8, batch_size=8,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bench:
    """A sweep and the folder that keeps its runs."""

    sweep: Sweep
    folder: Path

    def tuning(self) -> Measure:
        return Measure(prompts("tune")[: self.sweep.test], answers=1, seed=100)

    def test(self) -> Measure:
        return Measure(prompts("test")[: self.sweep.test], answers=2, seed=200)

    def tuned(self) -> dict[str, float]:
        """Each method's learning rate: the one whose best point has the greatest reward - beta^2 KL.

        At TUNED_AT that is what the losses over K answers are made to maximise. The methods of pairs are judged by
        the same, and by the same prompts, none of which is a test prompt.
        """
        sweep, measure = self.sweep, self.tuning()
        chosen: dict[str, float] = {}
        for method, answers in TUNED_WITH.items():
            runs = {rate: self.run(Trial(method, answers, TUNED_AT, rate, 0), measure) for rate in sweep.rates}
            chosen[method] = best_rate(runs, price=TUNED_AT**2)
        return chosen

    def run(self, trial: Trial, measure: Measure, known: Optimum | None = None) -> list[Point]:
        """The points of one run; the last is also held against the optimum, if it is known."""

        def look(session: Session, point: Point) -> Point:
            point = point | measure.session(session)
            if known is None or point["step"] < max(self.sweep.at):
                return point
            with session.policy.attending_natively():
                log_policy = log_probs(session.policy.model, known.rows[: self.sweep.ranked])
            return point | known.against(log_policy, point)

        def train() -> list[Point]:
            rows, size = self.rows(trial.answers, trial.seed), self.sweep.batch_size
            return points(recipe(trial), (rows, None), seed=trial.seed, batch_size=size, at=self.sweep.at, look=look)

        return once(self.folder / f"{trial.name}.json", train)

    def rows(self, answers: int, seed: int) -> Path:
        """The file of rows with that many answers: a seed's rows of 2 are the beginnings of its rows of 8."""
        file = self.folder / f"rows-k{answers}-seed{seed}.jsonl"
        if not file.exists():
            most = max(k for _, k in self.sweep.arms)
            drawn = rated(prompts("train")[: self.sweep.train], answers=most, seed=seed, folder=self.folder)
            write_rows(file, cut(drawn, answers))
        return file

    def optima(self) -> dict[float, Optimum]:
        """pi* for each beta, at the temperature beta^2 that is left of the two."""
        asked = prompts("test")[: self.sweep.test]
        rows = rated(asked, answers=self.sweep.sft_answers, seed=300, folder=self.folder)
        return {beta: optimum(rows, temperature=beta**2) for beta in self.sweep.betas}

    def frontier(self, rates: Mapping[str, float], known: Mapping[float, Optimum]) -> Found:
        """The points of every arm, beta and seed at the method's learning rate.

        Pairs say nothing of how much better an answer is, so they have no optimum of their own to be held against.
        """
        sweep, measure = self.sweep, self.test()
        start = once(self.folder / "sft.json", lambda: measure.policy(measure.reference))
        found = Found(start, {}, known)
        for beta, seed, arm in itertools.product(sweep.betas, sweep.seeds, sweep.arms):
            trial = Trial(*arm, beta, rates[arm[0]], seed)
            look_closely = trial.of_rewards and beta == TUNED_AT
            found.runs[trial] = self.run(trial, measure, known[beta] if look_closely else None)
        return found


def recipe(trial: Trial) -> Recipe:
    own = {"reward_temperature": trial.beta} if trial.of_rewards else {}
    return methods.recipe(trial.method, beta=trial.beta, **own).replace(update=update(trial.learning_rate))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="under a minute: tries the script, and shows nothing else")
    parser.add_argument("--betas", type=float, nargs="*", help="some of those of the sweep")
    parser.add_argument("--seeds", type=int, nargs="*", help="the same")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "claims", help="where runs are kept")
    given = parser.parse_args()
    torch.set_num_threads(1)  # a million weights gain nothing from a second one
    sweep = TINY if given.tiny else WHOLE
    sweep = replace(sweep, betas=given.betas or sweep.betas, seeds=given.seeds or sweep.seeds)
    bench = Bench(sweep, given.folder / ("exo_frontier_tiny" if given.tiny else "exo_frontier"))
    found = bench.frontier(bench.tuned(), bench.optima())
    print_tables(found, sweep.levels)
    if not given.tiny:
        write_points(found)
    if not given.tiny and TUNED_AT in sweep.betas:
        draw(found)


if __name__ == "__main__":
    main()
