"""A run from end to end: rows, model, references, steps, and what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from . import feeds, methods
from .chased import settled, with_adapters
from .data.notes import left_out, notes
from .data.options import DataSettings, Needs
from .data.prepare import Prepared, prepare
from .data.stream_steps import of_all
from .data.tokens import Ints
from .errors import CheckpointError, SettingsError
from .evaluate.progress import Silent, Watch
from .evaluate.report import write_report
from .feeds import Feed, Ready
from .feeds.arriving import came_since, suited
from .feeds.arriving import check as check_stream
from .models.load import config_of, context_of, load_tokenizer
from .models.origin import fingerprint
from .models.references import refuse_repeated
from .models.scored_references import check_references
from .models.sharding import Sharding, check_slices, sizes_of
from .outcome import answers, finish, measured, measured_before, prompts_of, sample_prompts, summarise
from .players import compiling
from .processes import Group, joined
from .recipe import Objective, Recipe
from .refusals import adapts, refuse_long_rows, refuse_parts_of_a_model, refuse_unloadable, refuse_update
from .run import DataSource, Run, shares_of
from .session import Session, begin
from .train import checkpoint
from .train.checkpoint import Progress
from .train.loop import Plan, train
from .train.run_directory import RunDirectory, check_directory, identity, opened


@dataclass(frozen=True, slots=True)
class Result:
    """What a run leaves behind."""

    out: Path
    report: Path | None  # None while the run is interrupted
    interrupted: bool
    summary: Mapping[str, Any]


def align(
    recipe: Recipe | str, *, model: str, out: str | Path, data: object = (), resume: bool = False, **settings: Any
) -> Result:
    """Align `model` with the preferences in `data`, into the run directory `out`.

    `recipe` is a name of `truenorth methods` or a recipe; `settings` are those of `Run`, and `watch`, which is told
    how the run goes. A recipe with rounds takes `prompts` and a `judge` in place of `data`. Raises SettingsError,
    DataError or ModelError before the first step for whatever cannot work.
    """
    watch = settings.pop("watch", None)
    chosen = methods.recipe(recipe) if isinstance(recipe, str) else recipe
    if isinstance(recipe, str) and settings.get("stream") is not None:
        chosen = suited(chosen)
    _refuse_settings_of(chosen, settings)
    fields: dict[str, Any] = {"model": str(model), "data": data or [], "out": Path(out), **settings}
    return start(chosen, Run(**fields), resume=resume, watch=watch)


def _refuse_settings_of(recipe: Recipe, settings: Mapping[str, object]) -> None:
    """Raise SettingsError for a setting of the recipe among those of the run, and say how it is given."""
    for name in settings.keys() - Run.model_fields.keys():
        if path := methods.path_of(recipe, name):
            raise SettingsError(
                f"{name} is a setting of the recipe, not of the run: align(methods.override(methods.recipe("
                f"{recipe.method!r}), {path!r}, {settings[name]!r}), ...), with `from truenorth import methods`."
            )


def start(recipe: Recipe, run: Run, *, resume: bool = False, watch: Watch | None = None) -> Result:
    """Run `recipe` as `run` says, or go on with the run in `run.out`. Raises as `align` does."""
    run = with_adapters(recipe, run)
    if recipe.domains is not None:  # a run for each
        from .continual.run import train_domains

        return train_domains(recipe, run, resume=resume, watch=watch or Silent())
    check_stream(recipe, run)  # which is for one process, and several would wait for each other
    with joined() as world:
        return _start(recipe, run, world, resume=resume, watch=watch if watch and world.first else Silent())


def _start(recipe: Recipe, run: Run, world: Group, *, resume: bool, watch: Watch) -> Result:
    refuse_repeated(recipe.references, run.model)
    asked = {"recipe": methods.dump(recipe), "run": run.model_dump(mode="json")}
    directory = opened(run.out, asked, resume=resume, first=world.first)
    if world.first_says(directory.finished):
        for line in ("The run is finished; nothing is left to do.", *came_since(recipe, run, directory)):
            watch.said(line)
        return Result(run.out, directory.report, interrupted=False, summary=directory.summary())
    feeds.check(recipe, run)
    sharding = _sharding(run, world, watch)
    refuse_parts_of_a_model(recipe, sharding.sizes)
    refuse_unloadable(recipe, run)
    refuse_update(recipe, run, sharding)
    check_references(
        recipe.references,
        run.model,
        cut_adapter=sharding.sizes.in_step and adapts(run),
        trust_remote_code=run.trust_remote_code,
    )
    feed = feeds.feed_of(ready := made_ready(recipe, run, directory, sharding=sharding, watch=watch))
    refuse_long_rows(run, ready.context, [feed.rows] if ready.unseen is None else [feed.rows, ready.unseen])
    with directory.held():  # only now: a run that is refused leaves nothing behind
        if world.first:
            check_directory(run.out, asked, resume=resume)  # again: another run may have begun and ended since
        directory.write_settings(asked)
        for name, record in feed.records().items():
            directory.write(name, record)
        with feed.opened(watch):
            return _train(feed, watch)


def made_ready(recipe: Recipe, run: Run, directory: RunDirectory, *, sharding: Sharding, watch: Watch) -> Ready:
    """Rows as tokens, and what else stands before the model is loaded. Raises DataError or SettingsError."""
    world, trusted = sharding.processes.world, run.trust_remote_code
    # the template is also what `final` is written with
    tokenizer = load_tokenizer(run.model, chat_template=run.chat_template, trust_remote_code=trusted)
    settings, context = data_settings(recipe, run), context_of(run.model, trust_remote_code=trusted)
    watch.stage("reading the data")

    def read(sources: list[DataSource]) -> Prepared | None:
        if not sources:
            return None
        return world.in_turn(lambda: prepare(shares_of(sources), tokenizer, settings=settings, said=watch.stage))

    given, unseen = read(run.data), read(run.eval_data)
    if given is not None and given.plain_text and tokenizer.chat_template is not None:
        watch.said(
            "The prompts are plain text: the tokenizer's chat template is not applied to them. If the model is to be "
            'asked in chats, give messages: "prompt": [{"role": "user", "content": ...}].'
        )
    for note in () if given is None else notes(given, settings, recipe.objective.name):
        watch.said(note)
    for note in () if unseen is None else left_out(unseen.account, "held-out rows"):
        watch.said(note)
    return Ready(recipe, run, directory, tokenizer, settings, given, unseen, context, sharding)


def _sharding(run: Run, world: Group, watch: Watch) -> Sharding:
    """How the processes hold the model. Raises SettingsError for a layout that does not fit, before one is loaded."""
    gpu = torch.cuda.is_available()
    sizes = sizes_of(run, world.size, gpu=gpu, adapter=adapts(run))
    check_slices(config_of(run.model, trust_remote_code=run.trust_remote_code), sizes)
    if world.size > 1:
        watch.said(f"{world.size} processes hold the model as {sizes}.")
    return Sharding.over(world, sizes, torch.device("cuda" if gpu else "cpu"))


def _train(feed: Feed, watch: Watch) -> Result:
    """From rows to the report."""
    ready = feed.ready
    recipe, run, directory, tokenizer = ready.recipe, ready.run, ready.directory, ready.tokenizer
    world = ready.sharding.processes.world
    same = _identity(feed)
    last = world.first_says(checkpoint.newest(directory.checkpoints))
    saved = None if last is None else _saved(last, same)
    prompts = _sample_prompts(feed)
    watch.said(feed.sentence)
    trained = compiling(feed.recipe, saved, world, watch)
    session = begin(trained, run, (feed.steps, ready.unseen), saved=saved, watch=watch, sharding=ready.sharding)
    session = feed.feeding(session, watch)

    def sample() -> list[str]:
        return answers(session, tokenizer, prompts, seed=run.seed)

    before = measured_before(session, recipe, directory, sample=sample, watch=watch)
    torch.manual_seed(run.seed + session.data.rank)  # of dropout, which differs with the rows
    compiled = bool(trained.update.compile)
    progress = Progress(budget=session.budget, precision=session.policy.precision, compiled=compiled, identity=same)
    if last is not None:
        progress = checkpoint.restore(last, session.players, world)
        watch.said(f"Resumed after step {progress.step}{of_all(session.steps.count)}.")
    if of_all(session.steps.count):
        watch.total_steps(session.steps.count)
    watch.stage("training")
    outcome = train(session.players, feed.planned(_plan(run, recipe, session, watch)), progress)
    of_rows = feed.closed(outcome, watch)
    if outcome.interrupted:
        return Result(run.out, None, interrupted=True, summary={})
    watch.stage("writing the model and the report")
    session, of_modules = settled(replace(session, players=outcome.players), recipe, outcome.progress.chase)
    after = measured(session, session.players)
    summary = summarise(ready, session, outcome.progress, before=before, after=after)
    summary["notes"] += of_modules + of_rows
    shown = (prompts, before["answers"], sample())
    summary = finish(ready, session, summary, shown)
    report = write_report(directory.out) if directory.writes else directory.report
    return Result(run.out, report, interrupted=False, summary=summary)


def _identity(feed: Feed) -> str:
    """What must not change from a kill to the run that goes on: recipe, rows or prompts, and every model's files."""
    recipe, run = feed.ready.recipe, feed.ready.run
    others = [fingerprint(path) for r in recipe.references.values() if (path := getattr(r, "path", None))]
    if (rule := recipe.update.merging) is not None and rule.base is not None:
        others.append(fingerprint(rule.base))
    others += feed.fingerprints()
    return identity(methods.dump(recipe), feed.rows.rows.identity, fingerprint(run.model), *others)


def _sample_prompts(feed: Feed) -> list[Ints]:
    """Those whose answers the report shows: held-out ones, where there are some."""
    ready, run = feed.ready, feed.ready.run
    rows = (ready.unseen or feed.rows).rows
    asked = prompts_of(run.prompts, ready.tokenizer) if run.prompts else (rows[i].prompt for i in range(len(rows)))
    count = run.samples if ready.recipe.objective.score_head is None else 0  # a judge answers nothing
    return sample_prompts(asked, count, context=ready.context)


def data_settings(recipe: Recipe, run: Run) -> DataSettings:
    """What the data layer must know of the run, and of what the objective reads."""
    shared = (DataSettings.model_fields.keys() & Run.model_fields.keys()) - {"chat_template"}  # the tokenizer's by now
    fields: dict[str, Any] = {name: getattr(run, name) for name in shared}
    return DataSettings(**fields, needs=needs_of(recipe.objective))


def needs_of(objective: Objective) -> Needs:
    """What the data layer must know of an objective."""
    return Needs(
        candidates=objective.candidates,
        rewards="rewards" in objective.reads,
        differences="reward_shift" in objective.invariances,
        demonstrations=objective.demonstrations,
        columns=objective.columns,
        ends=None if objective.score_head is None else objective.score_head.ends,
        degraded=() if objective.degree_head is None else objective.degree_head.deleted,
    )


def _saved(last: Path, same: str) -> Progress:
    """The progress in a checkpoint. Raises CheckpointError if it is of another recipe, model or data."""
    progress = checkpoint.read_progress(last)
    if progress.identity != same:
        raise CheckpointError(
            f"{last} is of another run: the recipe, the rows or prompts, or a model's files have changed since. "
            "Put them back, or start a new run with another --out."
        )
    return progress


def _plan(run: Run, recipe: Recipe, session: Session, watch: Watch) -> Plan:
    quarter = max(1, -(-session.steps.count // 4))
    return Plan(
        steps=session.steps,
        references=session.references,
        update=recipe.update,
        chase=recipe.chase,
        out=run.out,
        save_every=run.save_every or quarter,
        keep_checkpoints=run.keep_checkpoints,
        eval_every=run.eval_every or quarter,
        evaluate=None if session.held_out is None else lambda players: measured(session, players),
        watch=watch.logged,
        processes=session.sharding.processes,
    )
