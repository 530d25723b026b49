"""One run of a sweep: the library's own session and loop, stopped at some steps to be measured, and done once."""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from drawn import SFT

from truenorth.chased import settled
from truenorth.data.prepare import prepare
from truenorth.evaluate.progress import Silent
from truenorth.feeds.stored import steps_of
from truenorth.files import write_json
from truenorth.job import data_settings
from truenorth.models.load import load_tokenizer
from truenorth.optim.update import AdamW
from truenorth.recipe import Recipe
from truenorth.run import DataSource, Run
from truenorth.session import Session, begin
from truenorth.train.checkpoint import Progress
from truenorth.train.loop import Plan, train

Point = dict[str, Any]  # step, reward, reward_se, kl, kl_se, ...
Look = Callable[[Session, Point], Point]  # measures a session; the point so far has its step and tokens
MAX_LENGTH = 192  # tokens of a request with one answer


def update(learning_rate: float) -> AdamW:
    """The same for every method, and constant: a point on the way is where a shorter run would have ended."""
    return AdamW(learning_rate=learning_rate, betas=(0.9, 0.95), decay="constant", max_grad_norm=1.0)


def points(
    recipe: Recipe,
    rows: tuple[Path, Path | None],
    *,
    seed: int,
    batch_size: int,
    at: Sequence[int],
    look: Look,
) -> list[Point]:
    """Train to the last step of `at`; what `look` makes of the session and {step, tokens} after each of them.

    `rows` are the file to train on, and one held out or None.
    """
    with tempfile.TemporaryDirectory() as out:
        run = Run(
            model=SFT, data=[DataSource(path=str(rows[0]))], out=Path(out), seed=seed, max_steps=max(at),
            batch_size=batch_size, max_length=MAX_LENGTH, precision="float32", tokens_per_micro_batch=8192,
        )  # fmt: skip
        return stops(recipe, run, rows, at=at, look=look)


def stops(
    recipe: Recipe,
    run: Run,
    rows: tuple[Path, Path | None],
    *,
    at: Sequence[int],
    look: Look,
    began: Callable[[Session], None] = lambda _: None,
) -> list[Point]:
    """The same of a run that is given; `began` sees its session before the first step. Of two modules that chase each
    other `look` is given the one that would be the result."""
    tokenizer, settings = load_tokenizer(SFT), data_settings(recipe, run)
    data, unseen = (None if f is None else prepare([(str(f), 1.0)], tokenizer, settings=settings) for f in rows)
    assert data is not None
    run.out.mkdir(exist_ok=True)
    session = begin(recipe, run, (steps_of(run, data.rows), unseen), saved=None, watch=Silent())
    began(session)
    never = max(at) + 1
    plan = Plan(
        steps=session.steps, references=session.references, update=recipe.update, out=run.out,
        save_every=never, keep_checkpoints=1, eval_every=never, chase=recipe.chase,
    )  # fmt: skip
    progress, found = Progress(budget=session.budget, identity="claims"), list[Point]()
    for step in sorted(at):
        outcome = train(session.players, replace(plan, stop_after=step), progress)
        progress = outcome.progress
        if progress.step < step:  # asked to end, which the loop does after a step
            raise SystemExit(f"Stopped at step {progress.step} of {step}. This run starts again; others are kept.")
        shown, _ = settled(replace(session, players=outcome.players), recipe, progress.chase)
        found.append(look(shown, {"step": step, "tokens": progress.tokens}))
    return found


def once(file: Path, make: Callable[[], Any]) -> Any:
    """What `file` holds, made first if there is none: a sweep that was killed goes on where it was."""
    if not file.exists():
        began = time.process_time()
        write_json(file, make())
        print(f"{file.stem}: {time.process_time() - began:.0f} s of processor", flush=True)
    return json.loads(file.read_text())


def best_rate(found: Mapping[float, Sequence[Point]], price: float) -> float:
    """The learning rate whose best point has the greatest reward - price * KL."""
    return max(found, key=lambda rate: max(point["reward"] - price * point["kl"] for point in found[rate]))
