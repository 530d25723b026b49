"""A run in rounds of self-play: what is known of it before its model is loaded, and its session once it is."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from transformers import PreTrainedTokenizerBase

from . import drawing
from .data.chat import Encoder
from .data.comparisons import Pairing
from .data.prepare import Prepared
from .data.problems import Account
from .data.statistics import statistics_of
from .data.tokens import Ints, TokenizedRows
from .errors import DataError, SamplerError, SettingsError
from .evaluate.progress import Watch
from .judge import Asked
from .models.references import Moving
from .models.scored_references import without_copy
from .online import pairs
from .online.contents import Contents
from .online.estimator import check_estimator, open_estimator
from .online.given import Given
from .online.judge import open_judge
from .online.opponents import check_opponents
from .online.prompts import as_turn, read_prompts
from .online.round_measures import measures_of
from .online.round_steps import RoundSteps, as_large_as_any, rows_per_prompt, tokenized
from .online.rounds import Play
from .online.sampling import encode
from .online.selecting import Chooser
from .recipe import Recipe
from .run import Run
from .schedule import Rounds, answers_compared
from .session import Session
from .telling import Telling

Make = Callable[[int], TokenizedRows]
Tell = Callable[[int], Mapping[str, float]]


def _not_yet(number: int) -> TokenizedRows:
    raise AssertionError(f"round {number} has no policy to play it")


def _untold(number: int) -> Mapping[str, float]:
    del number
    return {}


@dataclass(frozen=True, slots=True)
class Planned:
    """Rounds before the first one: the prompts, and how large rows and run will be."""

    schedule: Rounds
    contents: Contents
    count: int  # prompts of a round
    per_prompt: float  # rows that a prompt makes, of several the mean
    pairing: Pairing  # "none": a method that takes all answers
    rows: Prepared  # as large as any that will be drawn, one for each prompt

    def steps(self, run: Run, make: Make = _not_yet, tell: Tell = _untold) -> RoundSteps:
        """The steps of the run, whose rows `make` makes and of which `tell` tells."""
        rows = math.ceil(self.count * self.per_prompt)
        return RoundSteps(self.schedule, make, tell, rows=rows, batch_size=run.batch_size, seed=run.seed)


def check(recipe: Recipe, run: Run) -> None:
    """Raise SettingsError where a run in rounds lacks what it needs, or is given what it would not read."""
    drawing.check(recipe, run)
    if recipe.schedule is None:
        if run.judge is not None:
            raise SettingsError(
                f"{recipe.method} trains on rows of a file: there is nothing to judge. Leave --judge out, or take a "
                "method that plays rounds (`truenorth methods`)."
            )
        if not run.data and run.stream is None:
            raise SettingsError(f"{recipe.method} needs rows to train on: --data DATA ...")
        return
    from_rows, judged = recipe.schedule.from_rows, recipe.asks_a_judge
    needed = {"--data": from_rows, "--prompts": not from_rows, "--judge": judged}
    given = {"--data": run.data, "--prompts": run.prompts, "--judge": run.judge}
    if missing := [flag for flag, needs in needed.items() if needs and not given[flag]]:
        source = "--data pairs.jsonl" if from_rows else "--prompts prompts.jsonl"
        raise SettingsError(
            f"{recipe.method} plays rounds: it needs {' and '.join(missing)}. For instance: truenorth train "
            f"{recipe.method} --model my-sft {source}{' --judge my.judges:reward' * judged} --out runs/x"
        )
    if run.judge is not None and not judged:
        raise SettingsError(
            f"{recipe.method} asks no judge: its rows are ordered by the data, or by the policy. Leave --judge out."
        )
    unread = {"--data": run.data and not from_rows, "--epochs": run.epochs, "--max-steps": run.max_steps}
    if odd := [flag for flag, value in unread.items() if value]:
        raise SettingsError(
            f"{recipe.method} plays rounds, which make their own rows: {', '.join(odd)} would not be read. Say how "
            "long with --rounds and --set schedule.epochs=..., schedule.prompts=..."
        )
    if shared := [source.path for source in run.data if source.share != 1]:
        raise SettingsError(
            f"{recipe.method} plays rounds, which take every row once in a pass, and {shared[0]} has a share. Take "
            "some of the file's rows in place of that, or give its rows a column `weight`."
        )
    if run.judge is not None:
        run.judge.check_place()
    check_estimator(recipe.objective.selection)


def planned(
    recipe: Recipe, run: Run, tokenizer: PreTrainedTokenizerBase, *, context: int | None, data: Prepared | None
) -> Planned:
    """The rounds that the run will play, from the rows of `data` or from prompts.

    Raises DataError or SettingsError for prompts that cannot be asked.
    """
    schedule, objective = recipe.schedule, recipe.objective
    assert schedule is not None
    compared = answers_compared(objective, schedule)
    pairing: Pairing = "none"
    if objective.candidates[1] == 2:
        pairing = schedule.pairing if run.pairing == "none" else run.pairing
    if schedule.from_rows:
        assert data is not None
        sources, completes = [(source.path, 1.0) for source in run.data], objective.completes_demonstrations
        given = Given.of(data, sources, tokenizer, demonstrations=completes)
        contents = Contents(given.prompts, given, schedule.compared, objective.own_rows, run.seed, completes)
        _must_fit(run, schedule, [row.prompt for row in given.rows], context)
        rows = given.as_large_as_any(objective, schedule)
        prepared = replace(data, rows=rows, statistics=statistics_of(rows, data.account))
    else:
        contents, tokens = _from_prompts(run, tokenizer)
        _must_fit(run, schedule, tokens, context)
        answers = 2 if pairing != "none" else compared
        beside = objective.opponent.answers if objective.opponent and objective.sample == "opponent" else 0
        rows = as_large_as_any(tokens, answers=answers + beside, tokens=schedule.max_new_tokens)
        nothing_read = Account()
        prepared = Prepared(rows, nothing_read, (), statistics_of(rows, nothing_read))
    count = schedule.prompts_of(len(contents.prompts), run.batch_size)
    selection = objective.selection
    made = rows_per_prompt(compared, pairing) if selection is None else selection.rows_per_prompt(schedule.k)
    return Planned(schedule, contents, count, made, pairing, prepared)


def _from_prompts(run: Run, tokenizer: PreTrainedTokenizerBase) -> tuple[Contents, Sequence[Ints]]:
    """Rounds of drawn answers, and the tokens of their prompts."""
    assert run.prompts is not None
    encoder, chat = Encoder(tokenizer), bool(tokenizer.chat_template)
    prompts = [cast(Asked, as_turn(prompt) if chat else prompt) for prompt in read_prompts(run.prompts)]
    return Contents(prompts), [np.array(encode(prompt, encoder), np.int32) for prompt in prompts]


def in_steps(recipe: Recipe, per_round: int) -> Recipe:
    """The recipe whose references move by steps alone."""
    references = {
        name: r.replace(every=r.every * per_round, unit="steps") if isinstance(r, Moving) and r.unit == "rounds" else r
        for name, r in recipe.references.items()
    }
    return recipe.replace(references=references)


def in_rounds(session: Session, plan: Planned, run: Run, tokenizer: PreTrainedTokenizerBase, watch: Watch) -> Session:
    """The session whose rows its policy makes, round by round."""
    if run.judge is not None:
        watch.stage("loading the judge")
    encoder, opponent = Encoder(tokenizer), session.player.objective.opponent
    sampler, hand_over = drawing.sampler_of(session, run, tokenizer)

    play = Play(
        plan.schedule,
        plan.contents,
        plan.count,
        sampler,
        None if run.judge is None else open_judge(run.judge),
        run.out / "rounds",
        run.seed,
        partial(drawing.answering, session),
        session.data,
        opponent,
        hand_over,
    )

    selection = session.player.objective.selection
    choose = None
    if selection is not None:
        choose = Chooser(selection, open_estimator(selection) if session.data.first else None, run.seed, session.data)

    def make(number: int) -> TokenizedRows:
        of = f"round {number + 1} of {plan.schedule.rounds}"
        watch.stage(f"{of}: {plan.count} prompts, {plan.schedule.k} answer{'s' * (plan.schedule.k > 1)} each")
        try:
            file = play.round(number)
        except SamplerError as error:
            raise SamplerError(
                f"{of}: {error} The command: truenorth train {run.out} --resume", error.missing
            ) from error
        if file.left_out and not file.rows():
            reason, count = Counter(file.left_out.values()).most_common(1)[0]
            raise DataError(
                f"{of}: the judge gave no verdict on any of {plan.count} prompts, on {count} of them because: "
                f"{reason}. {file.log} has the reason for each."
            )
        check_opponents(file.rows(), opponent, file.rows_file)
        sample = session.player.objective.sample
        played = file.rows() if choose is None else choose(file.rows(), file.folder, number)
        rows, _ = tokenized(played, encoder, pairing=plan.pairing, ties=run.ties, sample=sample)
        watch.stage("training")
        return rows

    tell = Telling(session, play, encoder, plan.steps(run).per_round, without_copy(session.policy))
    return replace(session, steps=plan.steps(run, make, tell))


def steps_of_round(session: Session) -> int:
    """Steps after which a checkpoint is due, so that a round begins from one; 0 where rounds are single steps."""
    steps = session.steps
    return steps.per_round if isinstance(steps, RoundSteps) and steps.per_round > 1 else 0


def told_at_the_end(out: Path, rounds: int, training: float) -> list[str]:
    """What became of the pairs, where some were left out, and what the time went to; `training` is in seconds."""
    chosen = pairs.told([out / "rounds" / f"{number + 1:04}" for number in range(rounds)])
    return [*([] if chosen is None else [chosen]), _shares_of_time(out, rounds, training)]


def _shares_of_time(out: Path, rounds: int, training: float) -> str:
    found = [measures_of(out / "rounds", number) for number in range(rounds)]
    drawing, judging = (sum(one[f"seconds/{what}"] for one in found) for what in ("sampling", "judging"))
    whole = max(drawing + judging + training, 1e-9)
    return (
        f"Of {whole:.0f} s, {drawing / whole:.0%} went into drawing answers, {judging / whole:.0%} into judging them, "
        f"{training / whole:.0%} into training on them."
    )


def told(session: Session, step: int) -> Mapping[str, float | str] | None:
    """What is logged of the round that begins after `step` steps, whose rows are made now; None where none begins."""
    steps = session.steps
    if not (isinstance(steps, RoundSteps) and steps.opens_round(step)):
        return None
    steps.open(step)
    return {"split": "round", **steps.tell(steps.round_of(step))}


def _must_fit(run: Run, schedule: Rounds, prompts: Sequence[Ints], context: int | None) -> None:
    """Raise SettingsError for a prompt that leaves too little room for an answer."""
    most, what = run.max_length, "--max-length"
    if context is not None and context < most:
        most, what = context, "the model's context"
    longest = max(map(len, prompts))
    where = ", ".join(source.path for source in run.data) or run.prompts
    if longest + schedule.max_new_tokens > most:
        raise SettingsError(
            f"{where}: the longest prompt has {longest} tokens, an answer may have {schedule.max_new_tokens} "
            f"(schedule.max_new_tokens), and {what} is {most}. Ask for shorter answers, leave long prompts out"
            + (", or raise it." if what == "--max-length" else ".")
        )
