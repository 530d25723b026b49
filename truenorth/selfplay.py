"""A run in rounds of self-play: what is known of it before its model is loaded, and its session once it is."""

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
from .models.sharding import Sharding
from .online.judge import open_judge
from .online.opponents import check_opponents
from .online.prompts import as_turn, read_prompts
from .online.round_measures import measures_of
from .online.round_steps import RoundSteps, as_large_as_any, rows_per_prompt, tokenized
from .online.rounds import Play
from .online.sampling import encode
from .recipe import Recipe
from .run import Run
from .schedule import Rounds
from .session import Session

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
    prompts: Sequence[Asked]
    count: int  # prompts of a round
    pairing: Pairing  # "none": a method that takes all answers
    rows: Prepared  # as large as any that will be drawn, one for each prompt

    def steps(self, run: Run, make: Make = _not_yet, tell: Tell = _untold) -> RoundSteps:
        """The steps of the run, whose rows `make` makes and of which `tell` tells."""
        rows = self.count * rows_per_prompt(self.schedule, self.pairing)
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
        if not run.data:
            raise SettingsError(f"{recipe.method} needs rows to train on: --data DATA ...")
        return
    missing = [f"--{name}" for name in ("prompts", "judge") if getattr(run, name) is None]
    if missing:
        raise SettingsError(
            f"{recipe.method} plays rounds: it needs {' and '.join(missing)}. For instance: truenorth train "
            f"{recipe.method} --model my-sft --prompts prompts.jsonl --judge my.judges:reward --out runs/x"
        )
    given = {"--data": run.data, "--epochs": run.epochs, "--max-steps": run.max_steps}
    if odd := [flag for flag, value in given.items() if value]:
        raise SettingsError(
            f"{recipe.method} plays rounds, which make their own rows: {', '.join(odd)} would not be read. Say how "
            "long with --rounds and --set schedule.epochs=..., schedule.prompts=..."
        )
    assert run.judge is not None
    run.judge.check_place()


def refuse_shards(recipe: Recipe, sharding: Sharding) -> None:
    """Raise SettingsError where no process could answer a prompt: each holds a part of the model."""
    if recipe.schedule is not None and sharding.in_step:
        raise SettingsError(
            f"{recipe.method} plays rounds, and a model that is held as {sharding.sizes} answers no prompt. Use "
            "--layout data: every process holds the whole model, perhaps with --lora."
        )


def planned(recipe: Recipe, run: Run, tokenizer: PreTrainedTokenizerBase, context: int | None) -> Planned:
    """The rounds that the run will play. Raises DataError or SettingsError for prompts that cannot be asked."""
    schedule, encoder = recipe.schedule, Encoder(tokenizer)
    assert schedule is not None
    assert run.prompts is not None
    chat = bool(tokenizer.chat_template)
    prompts = [cast(Asked, as_turn(prompt) if chat else prompt) for prompt in read_prompts(run.prompts)]
    tokens = [np.array(encode(prompt, encoder), np.int32) for prompt in prompts]
    _must_fit(run, schedule, tokens, context)
    takes_pairs = recipe.objective.candidates[1] == 2
    pairing: Pairing = "none"
    if takes_pairs:
        pairing = schedule.pairing if run.pairing == "none" else run.pairing
    answers = 2 if takes_pairs else schedule.k
    rows = as_large_as_any(tokens, answers=answers, tokens=schedule.max_new_tokens)
    nothing_read = Account()
    count = schedule.prompts_of(len(prompts), run.batch_size)
    return Planned(
        schedule, prompts, count, pairing, Prepared(rows, nothing_read, (), statistics_of(rows, nothing_read))
    )


def in_steps(recipe: Recipe, per_round: int) -> Recipe:
    """The recipe whose references move by steps alone."""
    references = {
        name: r.replace(every=r.every * per_round, unit="steps") if isinstance(r, Moving) and r.unit == "rounds" else r
        for name, r in recipe.references.items()
    }
    return recipe.replace(references=references)


def in_rounds(session: Session, plan: Planned, run: Run, tokenizer: PreTrainedTokenizerBase, watch: Watch) -> Session:
    """The session whose rows its policy makes, round by round."""
    assert run.judge is not None
    watch.stage("loading the judge")
    encoder, opponent = Encoder(tokenizer), session.player.objective.opponent
    sampler, hand_over = drawing.sampler_of(session, run, tokenizer)

    play = Play(
        plan.schedule,
        plan.prompts,
        plan.count,
        sampler,
        open_judge(run.judge),
        run.out / "rounds",
        run.seed,
        partial(drawing.answering, session),
        session.data,
        opponent,
        hand_over,
    )

    def make(number: int) -> TokenizedRows:
        of = f"round {number + 1} of {plan.schedule.rounds}"
        watch.stage(f"{of}: {plan.count} prompts, {plan.schedule.k} answers each")
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
        rows, _ = tokenized(file.rows(), encoder, pairing=plan.pairing, ties=run.ties)
        watch.stage("training")
        return rows

    def tell(number: int) -> Mapping[str, float]:
        if not play.group.first:  # one process speaks, and asks the judge
            return {}
        earlier = {"wins/initial": 0, "wins/previous": number - 1} if number > 0 else {}
        wins = {name: play.wins_against(number, of) for name, of in earlier.items()}
        found = measures_of(play.folder, number)
        return found | {name: value for name, value in wins.items() if value is not None}

    return replace(session, steps=plan.steps(run, make, tell))


def steps_of_round(session: Session) -> int:
    """Steps after which a checkpoint is due, so that a round begins from one; 0 where rounds are single steps."""
    steps = session.steps
    return steps.per_round if isinstance(steps, RoundSteps) and steps.per_round > 1 else 0


def shares_of_time(out: Path, rounds: int, training: float) -> str:
    """What the time of a run in rounds went to, in a sentence; `training` is in seconds."""
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
    if longest + schedule.max_new_tokens > most:
        raise SettingsError(
            f"{run.prompts}: the longest prompt has {longest} tokens, an answer may have {schedule.max_new_tokens} "
            f"(schedule.max_new_tokens), and {what} is {most}. Ask for shorter answers, leave long prompts out"
            + (", or raise it." if what == "--max-length" else ".")
        )
