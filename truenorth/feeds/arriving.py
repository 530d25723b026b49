"""Rows that still come: a stream, trained on in its order, once."""

import json
import shlex
import shutil
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..data.arrivals import STANDARD_INPUT, Arrivals, check_place, lines_since
from ..data.chat import Encoder
from ..data.options import DataSettings
from ..data.prepare import Prepared
from ..data.problems import Account
from ..data.statistics import statistics_of
from ..data.stream import StreamedRows
from ..data.stream_steps import StreamSteps
from ..data.tokens import TokenizedRows
from ..errors import DataError, SettingsError
from ..evaluate.progress import Watch
from ..launch import place
from ..models.references import Cached, Frozen, Moving, OtherModel, Reference
from ..recipe import Recipe
from ..run import Run
from ..session import Session
from ..train import checkpoint
from ..train.checkpoint import Progress
from ..train.loop import Outcome, Plan
from ..train.run_directory import RunDirectory
from ..train.snapshots import Snapshots
from .feed import Feed, Ready
from .hindsight import Copy, Reader, hindsight_of, never

NOTHING_YET = Prepared(TokenizedRows.of([]), Account(), (), statistics_of(TokenizedRows.of([]), Account()))
TOLD = (
    "Each row is scored before it is trained on: the loss and the accuracy of a step are those of rows never met. "
    "The learning rate stays constant after the warm-up, and references are scored as rows come."
)
EVERY = 50  # steps between checkpoints and evaluations, where nothing says how many there will be


def suited(recipe: Recipe, given: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe for rows that still come: references scored as they do, and a rate that no length is needed for.

    What is `given` of the update stays as it is, for `check` to refuse it.
    """
    references = {name: _live(reference) for name, reference in recipe.references.items()}
    changes = {"decay": "constant", "warmup_share": 0.0}
    own = {name: value for name, value in changes.items() if name not in (given or {})}
    return recipe.replace(references=references, update=recipe.update.replace(**own))


def _live(reference: Reference) -> Reference:
    if not isinstance(reference, Cached):
        return reference
    return Frozen() if reference.path is None else OtherModel(path=reference.path)


def check(recipe: Recipe, run: Run) -> None:
    """Raise SettingsError or DataError where a stream cannot be trained on so, as far as settings tell."""
    if run.stream is None:
        return
    check_recipe(recipe)
    if place().count > 1:
        raise SettingsError(
            f"a stream is trained on by one process, and there are {place().count}. Leave torchrun out; where memory "
            "is short, --lora and --gradient-checkpointing help."
        )
    check_place(run.stream.path, run.out / "stream")


def check_recipe(recipe: Recipe) -> None:
    """Raise SettingsError where a recipe needs what a stream has not: rows before the first step, or their number."""
    if recipe.schedule is not None:
        raise SettingsError(
            f"{recipe.method} plays rounds, which make their own rows: --stream would not be read. Leave it out, or "
            "take a method that trains on rows of a file (`truenorth methods`)."
        )
    if recipe.clients is not None:
        raise SettingsError(
            f"{recipe.method} shares rows out among clients before it begins, and those of a stream still come. Train "
            "it on files: --data DATA ..."
        )
    if recipe.objective.demonstrations:
        raise SettingsError(
            f"{recipe.objective.name} learns from pairs and from demonstrations beside them, and a stream has rows of "
            "one kind. Train it on files: --data pairs.jsonl demos.jsonl"
        )
    _refuse_what_needs_a_length(recipe)


def _refuse_what_needs_a_length(recipe: Recipe) -> None:
    """Raise SettingsError for a schedule over a length that is not known, and numbers of rows that are not there."""
    update = recipe.update
    if update.decay != "constant":
        raise SettingsError(
            f"the learning rate is to decay ({update.decay}) to the end of a stream, and nobody knows when that is. "
            "Use --set update.decay=constant"
        )
    if update.warmup_share:
        raise SettingsError(
            f"the warm-up is to take {update.warmup_share:g} of a stream's steps, and nobody knows their number. Use "
            "--set update.warmup_share=0 update.warmup_steps=100"
        )
    for name, reference in recipe.references.items():
        if isinstance(reference, Cached):
            raise SettingsError(
                f"the reference {name} is cached, and the rows of a stream are not there before it. Use --set "
                f"references.{name}.kind=frozen, or model with a path."
            )


class Arriving(Feed):
    """A stream. It has no rows before it is opened, and then those of its first step."""

    def __init__(self, ready: Ready) -> None:
        super().__init__(ready)
        assert ready.run.stream is not None, "a run with a stream"
        self.rows, self.stream = NOTHING_YET, ready.run.stream

    @classmethod
    def of(cls, ready: Ready) -> Self:
        return cls(ready)

    @contextmanager
    def opened(self, watch: Watch) -> Generator[None]:
        """Within it the rows of the first step have come. All that come are kept in the run directory.

        Raises DataError where none of the first rows can be trained on, or no layout fits; of a file, and of a
        pipe that brought nothing, nothing is left.
        """
        run, directory = self.ready.run, self.ready.directory
        arrivals = Arrivals(self.stream.path, self._folder, idle=self.stream.idle_seconds, said=watch.said)
        reader = Reader(Encoder(self.ready.tokenizer), self.settings(), run.batch_size, run.max_steps)
        self._arrivals, self._copy = arrivals, Copy(reader, arrivals.copy, arrivals.name)
        rows, steps = reader.of(arrivals, left_out=self._folder / "left_out.jsonl", said=watch.said)
        with closing(rows):
            watch.stage(f"waiting for the first {run.batch_size} rows of {arrivals.name}")
            try:
                _begin(rows, steps, least=run.batch_size)
            except DataError as error:
                if self.stream.path == STANDARD_INPUT and arrivals.copy.stat().st_size:
                    raise DataError(f"{error}\n  What came is kept in {arrivals.copy}.") from None
                self._forget()
                raise
            for line in (*rows.layout.lines, TOLD):
                watch.said(line)
            first, self.steps, self._wait = steps.rows, steps, steps.wait
            self.rows = Prepared(first, rows.account, (rows.layout,), statistics_of(first, rows.account))
            directory.write("account.json", self.rows.to_dict())
            yield

    def feeding(self, session: Session, watch: Watch) -> Session:
        del watch
        self._session = session
        return session

    def planned(self, plan: Plan) -> Plan:
        """Rows are waited for, and nobody knows how many will come."""
        run = self.ready.run
        return replace(
            plan,
            save_every=run.save_every or EVERY,
            eval_every=run.eval_every or EVERY,
            wait=self._wait,
            before_step=self._before_step,
        )

    def closed(self, outcome: Outcome, watch: Watch) -> list[str]:
        """Writes the account of all rows, and the regret. Says why no more rows are waited for."""
        self.ready.directory.write("account.json", self.rows.to_dict())
        watch.said(why := self._why_over(outcome))
        try:
            regret = self._regret(outcome.progress, watch)
        except DataError as missing:
            regret = f"No regret was estimated: {missing}"
        except KeyboardInterrupt:  # of this alone: the steps are done
            regret = "No regret was estimated: it was left out by Ctrl-C or a signal."
        watch.said(regret)
        return [why, regret]

    def _why_over(self, outcome: Outcome) -> str:
        """Why the run takes no more steps, in words."""
        taken = f"after {outcome.progress.step:,} steps"
        if outcome.interrupted:
            return f"Stopped {taken}, by Ctrl-C or a signal; the stream has not ended."
        if outcome.progress.step == self.ready.run.max_steps:
            return f"The run ended {taken}, as --max-steps says; the stream may go on."
        return f"The stream ended {taken}: {self._arrivals.end}."

    def _before_step(self, step: int) -> None:
        """Keep a snapshot after `step` steps, if it is time."""
        self._snapshots.take(step, self._session.players)

    def _regret(self, progress: Progress, watch: Watch) -> str:
        """The regret in words, or why there is none to estimate. Raises DataError as `hindsight_of` does."""
        recipe, directory, taken = self.ready.recipe, self.ready.directory, progress.step
        if any(isinstance(reference, Moving) for reference in recipe.references.values()):
            return "No regret was estimated: the reference moved, and with it the losses of a fixed module."
        if not self.stream.snapshots or not taken:
            return "No regret was estimated: there are no snapshots."
        watch.stage("scoring snapshots for the regret; Ctrl-C leaves it out")
        met = self._copy.rows_of(steps_scored(taken, self.stream.regret_steps, seed=self.ready.run.seed))
        log, now = directory.file("metrics.jsonl"), (taken, progress.chase.fast)
        found = hindsight_of(self._session, self._snapshots, met, log, now=now)
        directory.write("regret.json", found.to_dict())
        return found.sentence()

    def settings(self) -> DataSettings:
        """The run's, with room in the model's context: a row that does not fit cannot be refused before it comes."""
        settings, context = self.ready.settings, self.ready.context
        if context is None:
            return settings
        room = context // 2 if settings.needs.ends == "orders" else context
        return settings.replace(max_length=min(settings.max_length, room))

    def _forget(self) -> None:
        """Leave nothing of a run that took no step."""
        directory = self.ready.directory
        if checkpoint.newest(directory.checkpoints) is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            directory.settings.unlink(missing_ok=True)

    @property
    def _folder(self) -> Path:
        return self.ready.directory.file("stream")

    @property
    def _snapshots(self) -> Snapshots:
        return Snapshots(self._folder / "snapshots", self.stream.snapshot_every, self.stream.snapshots)


def came_since(recipe: Recipe, run: Run, directory: RunDirectory) -> list[str]:
    """What there is to say of the lines that have come to the file of a finished run since, and what to do."""
    if run.stream is None or not (account := directory.file("account.json")).is_file():
        return []
    taken = int(json.loads(account.read_text(encoding="utf-8"))["account"]["read"])
    last, more = lines_since(run.stream.path, directory.file("stream") / "rows.jsonl", taken=taken)
    if not last or not more:
        return []
    again = [
        "truenorth",
        "train",
        str(directory.settings),
        "--model",
        str(directory.final),
        "--stream",
        STANDARD_INPUT,
    ]
    own = isinstance(recipe.references.get("initial"), Frozen)  # the model before training, not its result
    again += ["--reference", run.model] * own + ["--out", f"{run.out}-2"]
    again += ["--set", "run.lora=null"] * (run.lora is not None)  # the result is an adapter, trained further as it is
    since = f"{more:,} line{'s have' if more > 1 else ' has'} come to {run.stream.path} since line {last:,}"
    return [
        f"{since}, its last. A finished run takes no more: a new one goes on from its result, with the same settings:",
        f"  tail -n +{last + 1} -f {shlex.quote(run.stream.path)} | {shlex.join(again)}",
        "Without -f it ends with the lines that are there. A file with --stream-idle none never ends by itself.",
    ]


def steps_scored(steps: int, most: int | None, *, seed: int) -> list[int]:
    """The steps, 1-based, whose rows score the snapshots: all, or `most` of them, drawn by the seed.

    >>> steps_scored(3, None, seed=0), len(steps_scored(1000, 32, seed=0))
    ([1, 2, 3], 32)
    """
    if most is None or steps <= most:
        return list(range(1, steps + 1))
    return sorted(int(step) + 1 for step in np.random.default_rng(seed).choice(steps, most, replace=False))


def _begin(rows: StreamedRows, steps: StreamSteps, *, least: int) -> None:
    """Wait for the first step. Raises DataError where of the first `least` rows and more none can be trained on."""

    def hopeless() -> bool:
        return rows.account.read >= least and not rows.account.kept

    rows.begin(never)
    if not steps.wait(0, hopeless):
        raise DataError(
            "\n  ".join(["None of the rows that came can be trained on.", *rows.account.lines(), *rows.layout.lines])
        )
