"""The rows of a plan, how long the run through them is, and what its rounds would ask: from files or from numbers."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..continual.plan import check as check_domains
from ..continual.plan import planned as planned_domains
from ..continual.sources import domains_of, names_of
from ..continual.ways import TRAINED, of_baseline
from ..data.chat import Encoder
from ..data.row_lengths import RowLengths
from ..data.stream import Copied
from ..data.stream_steps import sentence_of, unheard
from ..data.tokens import TokenizedRows
from ..errors import DataError, SettingsError
from ..evaluate.plan_memory import Course
from ..evaluate.progress import Silent
from ..feeds import Arriving, Dealt, Feed, Played, Ready, feed_of
from ..feeds.dealt import refuse_processes
from ..feeds.hindsight import Reader, never
from ..feeds.played import as_drawn
from ..job import made_ready
from ..models.load import context_of
from ..models.sharding import WHOLE
from ..online.contents import Contents
from ..processes import ALONE
from ..proportions import up
from ..recipe import Recipe
from ..refusals import refuse_long_rows
from ..run import Run
from ..train.run_directory import RunDirectory
from .asked import Planned


@dataclass(frozen=True, slots=True)
class Asked:
    """What the rows of a run are, before it is started."""

    rows: RowLengths
    course: Course
    clients: int = 0  # that take part in a round; 0: there are none
    rounds: Played | None = None  # of self-play
    notes: Sequence[str] = ()


def rows_of(recipe: Recipe, run: Run, planned: Planned) -> Asked:
    """Read the files that the run would read, with its tokenizer; or none, where numbers stand for rows.

    Raises SettingsError or DataError as the run would.
    """
    if planned.by_numbers:
        return _of_numbers(recipe, run, planned)
    if recipe.domains is not None:
        return _of_domains(recipe, run)
    ready = _ready(recipe, run)
    if run.stream is not None:
        return _of_stream(Arriving(ready), planned)
    feed = feed_of(ready)
    refuse_long_rows(run, ready.context, [feed.rows])
    return _of_feed(feed, planned.devices)


def _ready(recipe: Recipe, run: Run) -> Ready:
    """A run whose files are read; held-out rows are not planned."""
    trained_on = run.replace(eval_data=[])
    return made_ready(recipe, trained_on, RunDirectory(run.out), sharding=WHOLE, watch=Silent())


def _of_feed(feed: Feed, devices: int) -> Asked:
    """Rows that are all there, or as large as those of rounds will be."""
    rows, sentence = RowLengths.of(feed.rows.rows), feed.sentence
    if isinstance(feed, Played):
        steps = feed.schedule.rounds * feed.per_round
        course = Course(
            sentence, steps, feed.most * feed.schedule.epochs / feed.per_round, "a row for each of {:,} prompts"
        )
        return Asked(rows, course, rounds=feed)
    if isinstance(feed, Dealt):
        refuse_processes(feed.rounds.each_round, len(feed.rounds.clients), devices)
        course = Course(sentence, feed.rounds.count, feed.rounds.prompts)
        return Asked(rows, course, clients=feed.rounds.each_round)
    return Asked(rows, Course(sentence, feed.steps.count))


def _of_stream(feed: Arriving, planned: Planned) -> Asked:
    """The lines that are there now stand for those that will come. None is taken."""
    run, path = feed.ready.run, Path(feed.stream.path)
    with path.open("rb") as lines:
        if not any(line.strip() for line in lines):
            raise SettingsError(
                f"{path} has no row yet whose length could be planned with: say it with --prompt-tokens N "
                "--answer-tokens N, or wait for the first rows."
            )
    reader = Reader(Encoder(feed.ready.tokenizer), feed.settings(), run.batch_size, run.max_steps)
    streamed, _ = reader.of(Copied(path, str(path)))
    with closing(streamed):
        streamed.begin(never)
        taken = streamed.take(planned.rows, never, unheard)
    account = streamed.account
    if not taken:
        raise DataError("\n  ".join(["None of the rows that are there can be trained on.", *account.lines()]))
    notes = ["Planned by the rows that are there now; a longer one that comes has a micro-batch of its own."]
    if account.dropped:
        notes.append(f"{account.dropped:,} of the {account.read:,} lines that are there would be left out.")
    return Asked(RowLengths.of(TokenizedRows.of(taken)), _arriving(run), notes=notes)


def _arriving(run: Run) -> Course:
    most = "" if run.max_steps is None else f" It ends after {run.max_steps:,} steps, or with the stream."
    return Course(sentence_of(run.batch_size) + most, run.max_steps, rows="the {:,} rows that are there")


def _of_domains(recipe: Recipe, run: Run) -> Asked:
    """A run for each domain, one after another."""
    assert recipe.domains is not None
    names = names_of(check_domains(recipe, run), run)
    with TemporaryDirectory() as folder:  # rows that a column tells apart are written there
        elsewhere = run.replace(out=Path(folder))
        domains = tuple(domains_of(recipe.domains, elsewhere, names))
        found = planned_domains(recipe, elsewhere, domains, world=ALONE, watch=Silent())
        each = [found.steps(domain) for domain in domains]
        rows = RowLengths.of(TokenizedRows.of([row for prepared in found.rows.values() for row in prepared.rows]))
        ways = [way for way in TRAINED if way in recipe.domains.baselines]
        further = sum(stage.run.max_steps or 0 for way in ways for stage in of_baseline(found, way))
    told = ", ".join(f"{name} {steps:,}" for name, steps in zip(names, each, strict=True))
    sentence = f"{len(names)} domains one after another, an adapter each; steps: {told}."
    notes = ["Fitting the ratios and measuring every domain after each are not counted."]
    if ways:
        notes.append(f"The baselines ({', '.join(ways)}) take {further:,} of the steps, each counted as a domain's.")
    return Asked(rows, Course(sentence, sum(each) + further, rows="an epoch of all {:,} rows"), notes=notes)


def _of_numbers(recipe: Recipe, run: Run, planned: Planned) -> Asked:
    """Rows that are all alike."""
    if recipe.domains is not None:
        raise SettingsError(
            f"{recipe.method} goes over domains, and numbers tell none apart: give --data A.jsonl B.jsonl. What one "
            "of them takes, the method without domains says (for cofs_dpo: ofs_dpo)."
        )
    if recipe.schedule is not None:
        return _of_feed(_rounds(recipe, run, planned), planned.devices)
    prompt, answer = planned.prompt_tokens, planned.answer_tokens
    if prompt is None or answer is None:
        raise SettingsError("give --prompt-tokens and --answer-tokens both, or a file of rows in their place.")
    context = context_of(run.model, trust_remote_code=run.trust_remote_code)
    for most, what in ((run.max_length, "--max-length"), (context, "the model's context")):
        if most is not None and prompt + answer > most:
            raise SettingsError(
                f"prompt and answer have {prompt + answer} tokens, and {what} is {most}: plan for a larger one, or "
                "for shorter rows."
            )
    rows = RowLengths.alike(planned.rows, prompt=prompt, response=answer, candidates=planned.answers)
    if run.stream is not None:
        return Asked(rows, _arriving(run))
    clients, prompts = 0, float(run.batch_size)
    if recipe.clients is not None:
        if recipe.clients.column is not None:
            raise SettingsError(
                f"how many clients the column {recipe.clients.column} names, only rows can tell: give --data in place "
                "of --prompt-tokens, or say --set clients.count=N in place of clients.column."
            )
        clients = recipe.clients.taking_part(recipe.clients.dealt)
        refuse_processes(clients, recipe.clients.dealt, planned.devices)
        prompts = clients * recipe.clients.local_steps * min(run.batch_size, planned.rows / recipe.clients.dealt)
    epochs = 1.0 if run.epochs is None else run.epochs
    steps = max(1, up(epochs * planned.rows / prompts)) if run.max_steps is None else run.max_steps
    sentence = f"{planned.rows:,} rows that are all alike (--rows), {steps:,} steps."
    return Asked(rows, Course(sentence, steps, prompts), clients=clients)


def _rounds(recipe: Recipe, run: Run, planned: Planned) -> Played:
    """Rounds over prompts that are all alike."""
    schedule, prompt = recipe.schedule, planned.prompt_tokens
    assert schedule is not None
    if schedule.from_rows:
        raise SettingsError(f"{recipe.method} begins from rows, and numbers do not stand for them: give --data.")
    if prompt is None or planned.answer_tokens is not None or "answers" in planned.model_fields_set:
        raise SettingsError(
            f"{recipe.method} draws its answers: give --prompt-tokens N alone. How many, and how long at most, "
            f"say --k {schedule.k} --set schedule.max_new_tokens={schedule.max_new_tokens}."
        )
    prompts, ready = [np.zeros(prompt, np.int32)] * planned.rows, _ready(recipe, run)
    return Played(ready, Contents([""] * planned.rows), as_drawn(ready, schedule, prompts))
