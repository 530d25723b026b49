"""Runs of OFS-DPO and of DPO on adapters of one rank: on one domain, and on few pairs, which are soon told apart."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from drawn import SFT, prompts
from fast_slow_points import Key
from fast_slow_rows import of_reviews
from measured import Measure
from trained import MAX_LENGTH, Point, once, stops, update

from truenorth import methods
from truenorth.data.loader import batches
from truenorth.models.modes import evaluating
from truenorth.recipe import Recipe
from truenorth.run import DataSource, LoRA, Run
from truenorth.session import Session
from truenorth.train.step import score

BETA, RANK, INTERVAL = 0.3, 8, 8  # INTERVAL: steps between two comparisons of the modules
NUMBERS = ("reward", "kl", "accuracy", "loss", "share", "other share", "norm fast", "norm slow")
ARMS: Mapping[str, tuple[float, float] | None] = {  # alpha, and the slow learning rate over the fast one
    "DPO": None,
    "OFS-DPO": (0.1, 0.3),
    "OFS-DPO, alpha 0.5": (0.5, 0.3),
    "OFS-DPO, alpha 0.5, speeds 0.9": (0.5, 0.9),
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One run."""

    arm: str  # of ARMS
    rate: float
    seed: int

    @property
    def recipe(self) -> Recipe:
        if (settings := ARMS[self.arm]) is None:
            return methods.recipe("dpo", beta=BETA).replace(update=update(self.rate))
        alpha, ratio = settings
        found = methods.recipe("ofs_dpo", inner={"kind": "dpo", "beta": BETA}, alpha=alpha)
        assert found.chase is not None
        chase = found.chase.replace(interval=INTERVAL, speed_ratio=ratio)
        return found.replace(update=update(self.rate), chase=chase)

    def __str__(self) -> str:
        return f"{self.arm}-{self.rate:g}-seed{self.seed}".replace(", ", "-").replace(" ", "")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is tried."""

    rates: Sequence[float]
    seeds: Sequence[int]
    steps: int  # of OFS-DPO, and half of DPO's
    asked: int  # requests that are trained on, and
    test: int  # measured
    few: int  # pairs that DPO tells apart
    passes: int


def of_one_domain(trial: Trial, sizes: Sizes, measure: Measure, folder: Path) -> list[Point]:
    """Reward, KL and held-out accuracy after `steps` steps of 16 pairs, one pass; of DPO after twice as many, too."""
    at = [sizes.steps, 2 * sizes.steps] if trial.arm == "DPO" else [sizes.steps]

    def look(session: Session, point: Point) -> Point:
        return point | measure.session(session) | measure.accuracy(session)

    def make() -> list[Point]:
        rows = of_reviews(folder, seed=trial.seed, asked=sizes.asked)
        with tempfile.TemporaryDirectory() as out:
            return stops(trial.recipe, _run(trial, rows[0], Path(out), max(at), batch=16), rows, at=at, look=look)

    return once(folder / f"one-{trial}.json", make)


def of_few_pairs(trial: Trial, sizes: Sizes, measure: Measure, folder: Path) -> list[Point]:
    """Of every step the gradient norms `norm fast` and, of OFS-DPO, `norm slow`, by the modules' roles in it.

    After each eighth of the steps `share` and `other share`, the mean of sigmoid(-m) over the pairs that are trained
    on, of the module that would be the result and of the other; half-way and at the end what `of_one_domain` measures.
    """
    steps = sizes.passes * sizes.few // 8
    at = [step * steps // 8 for step in range(1, 9)]

    def look(session: Session, point: Point) -> Point:
        names = ("share", "other share")
        shares = dict(zip(names, _shares(session), strict=False))
        if point["step"] not in (at[3], at[-1]):
            return point | shares
        return point | shares | measure.accuracy(session) | measure.session(session)

    def make() -> list[Point]:
        whole, held_out = of_reviews(folder, seed=trial.seed, asked=sizes.asked)
        few = folder / f"few-seed{trial.seed}.jsonl"
        few.write_text("".join(f"{line}\n" for line in whole.read_text().splitlines()[: sizes.few]))
        with tempfile.TemporaryDirectory() as out:
            run = _run(trial, few, Path(out), steps, batch=8)
            points = stops(trial.recipe, run, (few, held_out), at=at, look=look)
            return [*points, *norms(Path(out) / "metrics.jsonl")]

    return once(folder / f"few-{trial}.json", make)


def norms(metrics: Path) -> list[Point]:
    """The gradient norms of each step's modules by role, before clipping."""
    found = list[Point]()
    for record in map(json.loads, metrics.read_text().splitlines()):
        own = [record["grad_norm"], record.get("player-1/grad_norm")]
        fast = int(record.get("chase/fast", 0))
        roles = {"norm fast": own[fast], "norm slow": own[1 - fast]}
        found.append({"step": record["step"]} | {role: norm for role, norm in roles.items() if norm is not None})
    return found


def points_of(part: str, trial: Trial, points: Sequence[Point]) -> dict[Key, float]:
    """Points as numbers of the csv."""
    return {
        Key(part, trial.arm, f"{trial.rate:g}", str(trial.seed), str(point["step"]), name): point[name]
        for point in points
        for name in NUMBERS
        if name in point
    }


@torch.no_grad()
def _shares(session: Session) -> list[float]:
    """For each module the mean over the pairs that it is trained on of sigmoid(-m), the slope of DPO's loss."""
    rows, found = session.steps.rows, [list[torch.Tensor]() for _ in session.players]
    with evaluating(session.policy.model):
        for batch in batches(rows, range(len(rows)), budget=session.budget):
            scored = score(session.players, batch, session.references)
            for player, candidates, own in zip(session.players, scored, found, strict=True):
                chosen, rejected = player.objective.implicit_rewards(candidates).unbind(-1)
                own.append((rejected - chosen).sigmoid())
    return [float(torch.cat(own).mean()) for own in found]


def _run(trial: Trial, rows: Path, out: Path, steps: int, *, batch: int) -> Run:
    return Run(
        model=SFT, data=[DataSource(path=str(rows))], out=out, seed=trial.seed, max_steps=steps, batch_size=batch,
        max_length=MAX_LENGTH, precision="float32", tokens_per_micro_batch=8192, lora=LoRA(rank=RANK),
    )  # fmt: skip


def measured(sizes: Sizes) -> Measure:
    """What policies are asked: requests about places that none was trained on."""
    return Measure(prompts("test")[: sizes.test], answers=1, seed=200)
