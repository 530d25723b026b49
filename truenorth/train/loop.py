"""The training loop: steps, log lines, evaluations, checkpoints, and how a run stops."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TypeVar

from ..chase import Chase
from ..data.loader import StepSource
from ..errors import NumericsError
from ..files import write_json, write_text
from ..optim.update import Update
from ..processes import Processes
from . import chasing, checkpoint
from .checkpoint import Progress
from .metrics import Metrics
from .replicas import refuse_drifted
from .step import NotFinite, Player, Scores, train_step

Record = Mapping[str, float | str]
T = TypeVar("T")
SAME_WISH = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Taken:
    """What a step did."""

    metrics: Sequence[Metrics]  # each player's
    prompts: int  # that weigh something
    tokens: int  # input tokens that went through the policy
    further: Mapping[str, float] = field(default_factory=dict[str, float])  # to log besides


def one_step(players: Sequence[Player], plan: "Plan", progress: Progress) -> Taken:
    """An optimizer step on the rows of the step that follows `progress`."""
    data = plan.processes.data
    batches = plan.steps.batches(progress.step, budget=progress.budget, part=data.rank, parts=data.size)
    tokens = sum(data.gather(sum(len(batch.tokens) for batch in batches if not batch.filler)))
    metrics = train_step(players, batches, plan.references, data)
    return Taken(metrics, metrics[0].prompts, tokens)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the loop needs besides the players: the rows, the schedule, and where things go."""

    steps: StepSource
    references: Mapping[str, Scores]
    update: Update  # for its learning rate over time
    out: Path
    save_every: int
    keep_checkpoints: int
    eval_every: int
    evaluate: Callable[[Sequence[Player]], Mapping[str, float]] | None = None  # metrics of held-out rows, as logged
    # Given the steps taken and whether someone wants to stop: whether there is a next step, whose rows it waits for.
    wait: Callable[[int, Callable[[], bool]], bool] = lambda _, __: True
    before_step: Callable[[int], Record | None] = lambda _: None  # given the steps taken; a round is made here
    watch: Callable[[Record], None] = lambda _: None  # sees each line as it is logged
    take: Callable[[Sequence[Player], "Plan", Progress], Taken] = one_step  # takes a step; raises NotFinite
    chase: Chase | None = None  # of two players; none: there is one
    stop_after: int | None = None  # leave after this step, as if interrupted
    processes: Processes = field(default_factory=Processes)


@dataclass(frozen=True, slots=True)
class Outcome:
    progress: Progress
    interrupted: bool
    players: Sequence[Player]


def train(players: Sequence[Player], plan: Plan, progress: Progress) -> Outcome:
    """Take the steps that remain after `progress`. Ctrl-C in any process ends after the current step of all, with a
    checkpoint.

    Raises NumericsError where a loss or gradient is not finite, after writing the rows to `not_finite.json`, and
    ProcessError before a checkpoint of weights in which processes differ.
    """
    world = plan.processes.world
    log = plan.out / "metrics.jsonl" if world.first else Path(os.devnull)  # one process speaks
    if world.first:
        _cut_after(log, progress.step)
    if plan.chase is not None:
        players = chasing.arranged(players, plan.chase, progress.chase)
    with _interrupts() as interrupted, log.open("a") as lines:

        def write(record: Record) -> None:
            lines.write(json.dumps(record) + "\n")
            lines.flush()
            plan.watch(record)

        def keep() -> int:
            refuse_drifted(players, progress.step, plan.processes)
            if world.first:
                os.fsync(lines.fileno())
            checkpoint.save(plan.out / "checkpoints", players, progress, keep=plan.keep_checkpoints, world=world)
            return progress.step

        kept = progress.step
        while progress.step < plan.steps.count and plan.wait(progress.step, interrupted):
            if (record := plan.before_step(progress.step)) is not None:
                write({"step": progress.step + 1, "seconds": round(progress.seconds, 3), **record})
            _move_references(players, progress.step)  # only now: a round is compared with what it was trained against
            players, progress = _step(players, plan, progress, write)
            last = progress.step == plan.steps.count
            if plan.evaluate is not None and (last or progress.step % plan.eval_every == 0):
                write({"step": progress.step, "split": "eval", **plan.evaluate(players)})
            stopping = world.any(interrupted()) or progress.step == plan.stop_after
            if last or stopping or progress.step % plan.save_every == 0:
                kept = keep()
            if stopping and not last:
                return Outcome(progress, interrupted=True, players=players)
        ended = progress.step == plan.steps.count  # of rows that come, known only now
        if ended and plan.evaluate is not None and not world.first_says(_evaluated(log, progress.step)):
            write({"step": progress.step, "split": "eval", **plan.evaluate(players)})
        if progress.step > kept:
            keep()
    return Outcome(progress, interrupted=not ended, players=players)


def _step(
    players: Sequence[Player], plan: Plan, progress: Progress, write: Callable[[Record], None]
) -> tuple[Sequence[Player], Progress]:
    """Take one step and log it."""
    began = time.perf_counter()
    rate = plan.update.learning_rate_at(progress.step, plan.steps.count)
    for player in players:
        for group in player.optimizer.param_groups:
            group["lr"] = rate * group.get("rate_scale", 1.0)
    try:
        taken = plan.take(players, plan, progress)
    except NotFinite as problem:
        raise _with_rows(problem, plan, progress.step + 1) from problem
    progress = replace(
        progress,
        step=progress.step + 1,
        prompts=progress.prompts + taken.prompts,
        tokens=progress.tokens + taken.tokens,
        seconds=progress.seconds + time.perf_counter() - began,
    )
    counters = {"prompts": progress.prompts, "tokens": progress.tokens, "seconds": round(progress.seconds, 3)}
    record: dict[str, float | str] = {"step": progress.step, "split": "train", "learning_rate": rate} | counters
    means = [metric.means() for metric in taken.metrics]
    if plan.chase is not None:
        players, standing, told = chasing.after_step(players, plan.chase, progress.chase, means)
        progress, record = replace(progress, chase=standing), record | told
    write(record | by_player(means) | dict(taken.further))
    if plan.chase is not None:
        chasing.refuse_running_away(plan.chase, means, progress.step)
    return players, progress


def _move_references(players: Sequence[Player], steps: int) -> None:
    """Those that are due after so many steps. A checkpoint has them as they were before."""
    for player in players:
        for follower in player.followers.values():
            follower.after_step(steps)


def by_player(found: Sequence[Mapping[str, T]]) -> dict[str, T]:
    """What is named of each player in one mapping: the first one's as it is, `player-1/` before the next one's names.

    >>> by_player([{"loss": 0.5}, {"loss": 0.6}])
    {'loss': 0.5, 'player-1/loss': 0.6}
    """
    return {f"player-{i}/" * (i > 0) + name: value for i, one in enumerate(found) for name, value in one.items()}


def _with_rows(problem: NotFinite, plan: Plan, step: int) -> NumericsError:
    """Leave the rows of a loss that is no number in a file, and an error that names it."""
    rows = [plan.steps.rows[i] for i in problem.rows]
    file = plan.out / "not_finite.json"
    places = [{"file": row.file, "row": row.row, "lengths": [len(r) for r in row.responses]} for row in rows]
    if plan.processes.world.first:
        write_json(file, {"step": step, "problem": str(problem), "rows": places})
    where = ", ".join(f"{row.file} row {row.row}" for row in rows[:3])
    return NumericsError(
        f"step {step}: {problem}. The weights are as they were before this step. Rows: {where}"
        f"{', ...' if len(rows) > 3 else ''}; all of them are in {file}. "
        "Try a lower --learning-rate, or look at the rows."
    )


def _evaluated(log: Path, step: int) -> bool:
    """Whether held-out rows were scored after `step` steps."""
    records = map(json.loads, log.read_text().splitlines())
    return any(record["step"] == step and record["split"] == "eval" for record in records)


def _cut_after(log: Path, step: int) -> None:
    """Drop the log lines of steps that a kill took back, and a line that it cut in half."""
    if not log.exists():
        return
    kept: list[str] = []
    for line in log.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["step"] <= step:
            kept.append(line + "\n")
    write_text(log, "".join(kept))


@contextmanager
def _interrupts() -> Generator[Callable[[], bool]]:
    """Within it, the first Ctrl-C or SIGTERM only asks to stop; a second one, a moment later, stops at once.

    A launcher passes on what the terminal has sent to all processes already: both are one wish. Outside the main
    thread Python delivers no signals, and there is nothing to catch.
    """
    asked: list[float] = []  # when
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def ask(_: int, __: FrameType | None) -> None:
        if asked and time.monotonic() - asked[0] > SAME_WISH:
            raise KeyboardInterrupt
        asked.append(time.monotonic())

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
