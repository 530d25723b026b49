"""Rows that the policy makes itself, in rounds of self-play."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Self, cast

import numpy as np

from ..data.chat import Encoder
from ..data.comparisons import Pairing
from ..data.loader import Steps
from ..data.prepare import Prepared
from ..data.problems import Account
from ..data.statistics import statistics_of
from ..data.tokens import Ints, TokenizedRows
from ..errors import DataError, SamplerError, SettingsError
from ..evaluate.progress import Watch
from ..judge import Asked
from ..models.references import Moving
from ..models.scored_references import without_copy
from ..online import left_out, pairs
from ..online.contents import Contents
from ..online.estimator import open_estimator
from ..online.given import Given
from ..online.judge import open_judge
from ..online.opponents import check_opponents
from ..online.prompts import as_turn, read_prompts
from ..online.round_file import folder_of, given_as_files
from ..online.round_measures import measures_of
from ..online.round_steps import RoundSteps, as_large_as_any, rows_per_prompt, steps_of_round, tokenized
from ..online.rounds import Play
from ..online.sampling import encode
from ..online.selecting import Chooser
from ..proportions import up
from ..recipe import Recipe
from ..run import Run
from ..schedule import Rounds, answers_compared
from ..session import Session
from ..train.loop import Outcome, Plan
from ..train.run_directory import identity
from .drawing import answering, sampler_of
from .feed import Feed, Ready
from .telling import Telling


class Played(Feed):
    """Rounds of drawn, judged answers.

    Until the session feeds them, `rows` and `steps` are stand-ins as large as any that will be drawn: memory is tried
    with them.
    """

    def __init__(self, ready: Ready, contents: Contents, rows: Prepared) -> None:
        super().__init__(ready)
        recipe, run = ready.recipe, ready.run
        assert recipe.schedule is not None, "a recipe with rounds"
        schedule, objective, self.contents = recipe.schedule, recipe.objective, contents
        self.schedule = schedule
        self.pairing: Pairing = _pairing(recipe, run)
        self.count = schedule.prompts_of(len(contents.prompts), run.batch_size)  # prompts of a round
        compared, selection = answers_compared(objective, schedule), objective.selection
        made = rows_per_prompt(compared, self.pairing) if selection is None else selection.rows_per_prompt(schedule.k)
        self.most = up(self.count * made)  # rows of a round, if every prompt gives its own
        self.per_round = steps_of_round(schedule, self.most, batch_size=run.batch_size)
        whole = schedule.rounds * self.per_round
        self.rows, self.steps = rows, Steps(rows.rows, run.batch_size, seed=run.seed, max_steps=whole)

    @classmethod
    def of(cls, ready: Ready) -> Self:
        """Rounds over the rows that are given, or over prompts.

        Raises DataError or SettingsError for prompts that cannot be asked.
        """
        schedule = ready.recipe.schedule
        assert schedule is not None, "a recipe with rounds"
        return cls(ready, *(_from_rows(ready, schedule) if schedule.from_rows else _from_prompts(ready, schedule)))

    def fingerprints(self) -> list[str]:
        """Of what is asked, and of whom: `rows` are stand-ins."""
        given, judge = self.ready.given, self.ready.run.judge
        prompts, verdicts = identity(self.contents.prompts), identity(None if judge is None else judge.identity())
        return [prompts, verdicts, *([] if given is None else [given.rows.identity])]

    @property
    def recipe(self) -> Recipe:
        """The run's, whose references move by steps alone."""
        references = {
            name: r.replace(every=r.every * self.per_round, unit="steps")
            if isinstance(r, Moving) and r.unit == "rounds"
            else r
            for name, r in self.ready.recipe.references.items()
        }
        return self.ready.recipe.replace(references=references)

    @property
    def sentence(self) -> str:
        rounds, count, each = self.schedule.rounds, self.count, self.per_round
        return (
            f"{rounds} round{'s' * (rounds > 1)} of {count} prompt{'s' * (count > 1)}, {each} step{'s' * (each > 1)} "
            "in each, if every prompt gives its rows."
        )

    def feeding(self, session: Session, watch: Watch) -> Session:
        run, objective = self.ready.run, self.ready.recipe.objective
        if run.judge is not None:
            watch.stage("loading the judge")
        sampler, hand_over = sampler_of(session, run, self.ready.tokenizer)
        play = Play(
            schedule=self.schedule,
            contents=self.contents,
            count=self.count,
            sampler=sampler,
            judge=None if run.judge is None else open_judge(run.judge),
            folder=run.out / "rounds",
            seed=run.seed,
            answering=partial(answering, session),
            group=session.data,
            opponent=objective.opponent,
            hand_over=hand_over,
            rewards=run.judge is None or run.judge.answers_at_once == 1,
        )
        choose = None
        if (selection := objective.selection) is not None:
            estimator = open_estimator(selection) if session.data.first else None
            choose = Chooser(selection, estimator, run.seed, session.data)
        encoder = Encoder(self.ready.tokenizer)
        self._tell = Telling(session, play, encoder, self.per_round, watch, without_copy(session.policy))
        make = partial(self._round, play, choose, watch=watch)
        self._made = RoundSteps(self.schedule, make, rows=self.most, batch_size=run.batch_size, seed=run.seed)
        return replace(session, steps=self._made)

    def planned(self, plan: Plan) -> Plan:
        """A checkpoint is due where a round begins, unless rounds are single steps."""
        due = self.ready.run.save_every or (self.per_round if self.per_round > 1 else plan.save_every)
        return replace(plan, save_every=due, before_step=self._before_step)

    def closed(self, outcome: Outcome, watch: Watch) -> list[str]:
        """What became of the prompts and pairs, where some were left out, and what the time went to."""
        if outcome.interrupted:
            return []
        out, rounds = self.ready.run.out / "rounds", range(self.schedule.rounds)
        folders = [folder_of(out, number) for number in rounds]
        shares = _shares_of_time([measures_of(out, number) for number in rounds], outcome.progress.seconds)
        told = [
            said
            for said in (given_as_files(folders), left_out.told(folders), pairs.told(folders), shares)
            if said is not None
        ]
        for note in told:
            watch.said(note)
        return told

    def _before_step(self, step: int) -> Mapping[str, float | str] | None:
        """What is logged of the round that begins after `step` steps, whose rows are made now."""
        steps = self._made
        if not steps.opens_round(step):
            return None
        steps.open(step)
        told = self._tell(steps.round_of(step))
        self._tell.watch.stage("training")
        return {"split": "round", **told}

    def _round(self, play: Play, choose: Chooser | None, number: int, *, watch: Watch) -> TokenizedRows:
        """Play round `number`, 0-based: its rows. Raises DataError where the judge gave no verdict at all."""
        schedule, objective, encoder = self.schedule, self.ready.recipe.objective, Encoder(self.ready.tokenizer)
        of = f"round {number + 1} of {schedule.rounds}"
        watch.stage(f"{of}: {self.count} prompts, {schedule.k} answer{'s' * (schedule.k > 1)} each")
        try:
            file = play.round(number)
        except SamplerError as error:
            resumed = f"The command: truenorth train {self.ready.run.out} --resume"
            raise SamplerError(f"{of}: {error} {resumed}", error.missing) from error
        if file.left_out and not file.rows():
            reason, count = left_out.most_frequent(file.left_out.values())
            raise DataError(
                f"{of}: the judge gave no verdict on any of {self.count} prompts, on {count} of them because: "
                f"{reason}. {file.log} has the reason for each."
            )
        check_opponents(file.rows(), objective.opponent, file.rows_file)
        played = file.rows() if choose is None else choose(file.rows(), file.folder, number)
        rows, _ = tokenized(played, encoder, pairing=self.pairing, ties=self.ready.run.ties, sample=objective.sample)
        return rows


def _pairing(recipe: Recipe, run: Run) -> Pairing:
    """How answers become pairs; `none` for a method that takes all of them."""
    if recipe.schedule is None or recipe.objective.candidates[1] != 2:
        return "none"
    return recipe.schedule.pairing if run.pairing == "none" else run.pairing


def _from_rows(ready: Ready, schedule: Rounds) -> tuple[Contents, Prepared]:
    """Rounds of the rows that are given, whose answers stand beside the policy's."""
    data, run, objective = ready.given, ready.run, ready.recipe.objective
    assert data is not None, "a run refuses rounds from rows without them"
    sources, completes = [(source.path, 1.0) for source in run.data], objective.completes_demonstrations
    given = Given.of(data, sources, ready.tokenizer, demonstrations=completes)
    _must_fit(ready, schedule, [row.prompt for row in given.rows])
    rows = given.as_large_as_any(objective, schedule)
    contents = Contents(given.prompts, given, schedule.compared, objective.own_rows, run.seed, completes)
    return contents, replace(data, rows=rows, statistics=statistics_of(rows, data.account))


def _from_prompts(ready: Ready, schedule: Rounds) -> tuple[Contents, Prepared]:
    """Rounds of drawn answers alone."""
    run = ready.run
    assert run.prompts is not None, "a run refuses rounds without prompts"
    encoder, chat = Encoder(ready.tokenizer), bool(ready.tokenizer.chat_template)
    prompts = [cast(Asked, as_turn(prompt) if chat else prompt) for prompt in read_prompts(run.prompts)]
    tokens = [np.array(encode(prompt, encoder), np.int32) for prompt in prompts]
    return Contents(prompts), as_drawn(ready, schedule, tokens)


def as_drawn(ready: Ready, schedule: Rounds, prompts: Sequence[Ints]) -> Prepared:
    """A row for each prompt, as large as any whose answers are drawn.

    Raises SettingsError for a prompt that leaves too little room for an answer.
    """
    _must_fit(ready, schedule, prompts)
    objective = ready.recipe.objective
    answers = 2 if _pairing(ready.recipe, ready.run) != "none" else answers_compared(objective, schedule)
    beside = objective.opponent.answers if objective.opponent and objective.sample == "opponent" else 0
    rows = as_large_as_any(prompts, answers=answers + beside, tokens=schedule.max_new_tokens)
    nothing_read = Account()
    return Prepared(rows, nothing_read, (), statistics_of(rows, nothing_read))


def _shares_of_time(found: Sequence[Mapping[str, float]], training: float) -> str:
    """Of all rounds' measures; `training` is in seconds."""
    parts = (("sampling",), ("judging", "comparing"))
    drawing, judging = (sum(one.get(f"seconds/{what}", 0.0) for one in found for what in part) for part in parts)
    whole = max(drawing + judging + training, 1e-9)
    return (
        f"Of {whole:.0f} s, {drawing / whole:.0%} went into drawing answers, {judging / whole:.0%} into judging them, "
        f"{training / whole:.0%} into training on them."
    )


def _must_fit(ready: Ready, schedule: Rounds, prompts: Sequence[Ints]) -> None:
    """Raise SettingsError for a prompt that leaves too little room for an answer."""
    run, most, what = ready.run, ready.run.max_length, "--max-length"
    if ready.context is not None and ready.context < most:
        most, what = ready.context, "the model's context"
    longest = max(map(len, prompts))
    where = ", ".join(source.path for source in run.data) or run.prompts or "--prompt-tokens"  # of a plan
    if longest + schedule.max_new_tokens > most:
        raise SettingsError(
            f"{where}: the longest prompt has {longest} tokens, an answer may have {schedule.max_new_tokens} "
            f"(schedule.max_new_tokens), and {what} is {most}. Ask for shorter answers, leave long prompts out"
            + (", or raise it." if what == "--max-length" else ".")
        )
