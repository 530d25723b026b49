"""A run over a stream: what is known of it before its rows come, its session once they do, and its regret."""

import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from .data.arrivals import STANDARD_INPUT, Arrivals, check_place
from .data.chat import Encoder
from .data.options import DataSettings
from .data.prepare import Prepared
from .data.problems import Account
from .data.statistics import statistics_of
from .data.stream import Copied, Lines, StreamedRows
from .data.stream_steps import ENDLESS, StreamSteps, unheard
from .data.tokens import TokenizedRows
from .errors import DataError, SettingsError
from .evaluate.artifacts import read_metrics
from .evaluate.preferences import each_held_out
from .evaluate.progress import Watch
from .evaluate.regret import Hindsight
from .launch import place
from .models.load import context_of
from .models.modes import evaluating
from .models.references import Cached, Frozen, Moving, OtherModel, Reference
from .recipe import Recipe
from .run import Run
from .session import Session
from .stream import Stream
from .train import checkpoint
from .train.evidence import series
from .train.loop import Plan
from .train.run_directory import RunDirectory
from .train.snapshots import Snapshots, held_as
from .train.step import Player

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
    if place().count > 1:
        raise SettingsError(
            f"a stream is trained on by one process, and there are {place().count}. Leave torchrun out; where memory "
            "is short, --lora and --gradient-checkpointing help."
        )
    _refuse_what_needs_a_length(recipe)
    check_place(run.stream.path, run.out / "stream")


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


@dataclass(frozen=True, slots=True)
class Reader:
    """How lines become the steps of a run."""

    encoder: Encoder
    settings: DataSettings
    batch_size: int
    most: int | None  # steps

    def of(
        self, lines: Lines, *, left_out: Path | None = None, said: Callable[[str], None] = unheard
    ) -> tuple[StreamedRows, StreamSteps]:
        """The rows in `lines`, and the steps that they make."""
        rows = StreamedRows(lines, self.encoder, self.settings, by=self.batch_size, left_out=left_out)
        ends = self.settings.needs.ends
        return rows, StreamSteps(rows, self.batch_size, ends=ends, most=self.most, said=said)


@dataclass(slots=True)
class Arriving:
    """A stream whose first rows have come."""

    stream: Stream
    directory: RunDirectory
    reader: Reader
    arrivals: Arrivals
    rows: StreamedRows
    steps: StreamSteps
    first: Prepared  # of the first step
    players: Sequence[Player] = field(default_factory=tuple[Player, ...])  # once the model is loaded

    def planned(self, plan: Plan, run: Run, session: Session) -> Plan:
        """The plan of a run whose rows are waited for, and whose length is not known."""
        self.players = session.players
        return replace(
            plan,
            save_every=run.save_every or EVERY,
            eval_every=run.eval_every or EVERY,
            wait=self.steps.wait,
            before_step=self.before_step,
        )

    def before_step(self, step: int) -> None:
        """Keep a snapshot after `step` steps, if it is time."""
        self._snapshots.take(step, self.players)

    def close(self, recipe: Recipe, run: Run, session: Session, *, steps: int, watch: Watch) -> list[str]:
        """Write the account of all rows, and the regret over `steps` steps; what there is to say of it."""
        self.directory.write("account.json", self.first.to_dict())
        if any(isinstance(reference, Moving) for reference in recipe.references.values()):
            note = "No regret was estimated: the reference moved, and with it the losses of a fixed module."
        elif recipe.chase is not None:
            note = "No regret was estimated: the loss of each of two modules depends on the other one."
        elif not self.stream.snapshots or not steps:
            note = "No regret was estimated: there are no snapshots."
        else:
            watch.stage("scoring snapshots for the regret; Ctrl-C leaves it out")
            found = self._hindsight(session, steps=steps, seed=run.seed)
            self.directory.write("regret.json", found.to_dict())
            note = found.sentence()
        watch.said(note)
        return [note]

    def _hindsight(self, session: Session, *, steps: int, seed: int) -> Hindsight:
        losses_met = series(read_metrics(self.directory.file("metrics.jsonl")), "loss")
        online = dict(zip(losses_met.steps, losses_met.values, strict=True))
        met = self._rows_of(steps_scored(steps, self.stream.regret_steps, seed=seed))
        scored = [step for step in met if step in online]

        def losses() -> list[float]:
            with evaluating(session.policy.model):
                return [
                    each_held_out(session.players, met[step], session.references, budget=session.budget)[0]["loss"]
                    for step in scored
                ]

        fixed = dict[int, list[float]]()
        for step in self._snapshots.steps():
            if step < steps:
                with held_as(self.players, self._snapshots.read(step)):
                    fixed[step] = losses()
        fixed[steps] = losses()  # as it is now
        return Hindsight(scored, [online[step] for step in scored], fixed, taken=steps)

    def _rows_of(self, wanted: Sequence[int]) -> Mapping[int, TokenizedRows]:
        """The rows of these steps, 1-based, read from the copy again."""
        rows, steps = self.reader.of(Copied(self.arrivals.copy, self.arrivals.name))
        with closing(rows):
            rows.begin(_never)
            found = dict[int, TokenizedRows]()
            for step in range(1, max(wanted) + 1):
                if not steps.wait(step - 1, _never):
                    break
                if step in wanted:
                    found[step] = steps.rows
        return found

    @property
    def _snapshots(self) -> Snapshots:
        return Snapshots(
            self.directory.file("stream") / "snapshots", self.stream.snapshot_every, self.stream.snapshots
        )


def steps_scored(steps: int, most: int | None, *, seed: int) -> list[int]:
    """The steps, 1-based, whose rows score the snapshots: all, or `most` of them, drawn by the seed.

    >>> steps_scored(3, None, seed=0), len(steps_scored(1000, 32, seed=0))
    ([1, 2, 3], 32)
    """
    if most is None or steps <= most:
        return list(range(1, steps + 1))
    return sorted(int(step) + 1 for step in np.random.default_rng(seed).choice(steps, most, replace=False))


def of_all(count: int) -> str:
    """` of 40`; empty where the number of steps is not known.

    >>> of_all(40), of_all(ENDLESS)
    (' of 40', '')
    """
    return "" if count == ENDLESS else f" of {count}"


def _never() -> bool:
    return False


@contextmanager
def opened(
    run: Run, tokenizer: PreTrainedTokenizerBase, settings: DataSettings, *, directory: RunDirectory, watch: Watch
) -> Generator["Arriving"]:
    """The stream of a run, within, once the rows of its first step have come; they are kept in the run directory.

    Raises DataError where none of the first rows can be trained on, or no layout fits; of a file nothing is left then.
    """
    stream, kept = run.stream, directory.file("stream")
    assert stream is not None, "a run with a stream"
    if (context := context_of(run.model, trust_remote_code=run.trust_remote_code)) is not None:
        room = context // 2 if settings.needs.ends == "orders" else context
        settings = settings.replace(max_length=min(settings.max_length, room))
    reader = Reader(Encoder(tokenizer), settings, run.batch_size, run.max_steps)
    arrivals = Arrivals(stream.path, kept, idle=stream.idle_seconds, said=watch.said)
    rows, steps = reader.of(arrivals, left_out=kept / "left_out.jsonl", said=watch.said)
    with closing(rows):
        watch.stage(f"waiting for the first {run.batch_size} rows of {arrivals.name}")
        try:
            _begin(rows, steps, least=run.batch_size)
        except DataError as error:
            if stream.path == STANDARD_INPUT:
                raise DataError(f"{error}\n  What came is kept in {arrivals.copy}.") from None
            _forget(directory)
            raise
        for line in (*rows.layout.lines, TOLD):
            watch.said(line)
        first = Prepared(steps.rows, rows.account, (rows.layout,), statistics_of(steps.rows, rows.account))
        directory.write("account.json", first.to_dict())
        yield Arriving(stream, directory, reader, arrivals, rows, steps, first)


def _begin(rows: StreamedRows, steps: StreamSteps, *, least: int) -> None:
    """Wait for the first step. Raises DataError where of the first `least` rows and more none can be trained on."""

    def hopeless() -> bool:
        return rows.account.read >= least and not rows.account.kept

    rows.begin(_never)
    if not steps.wait(0, hopeless):
        raise DataError(
            "\n  ".join(["None of the rows that came can be trained on.", *rows.account.lines(), *rows.layout.lines])
        )


def _forget(directory: RunDirectory) -> None:
    """Leave nothing of a run that took no step."""
    if checkpoint.newest(directory.checkpoints) is None:
        shutil.rmtree(directory.file("stream"), ignore_errors=True)
        directory.settings.unlink(missing_ok=True)
