"""One run in rounds of the library's own session and loop, looked at every few steps."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from drawn import Prompt
from self_play_arms import PROMPTS, Arm

from truenorth.evaluate.progress import Silent
from truenorth.feeds import Played, Ready
from truenorth.files import write_text
from truenorth.job import data_settings
from truenorth.judge import judge_of
from truenorth.models.load import load_tokenizer
from truenorth.models.logprobs import Model
from truenorth.models.modes import evaluating
from truenorth.models.sharding import WHOLE
from truenorth.run import Run
from truenorth.session import begin
from truenorth.train.checkpoint import Progress
from truenorth.train.loop import Plan, train
from truenorth.train.run_directory import RunDirectory

Look = Callable[[Model, int], None]  # is shown the policy after so many steps
MAX_LENGTH = 192  # tokens of a request with one answer


def played(arm: Arm, model: str, prompts: Sequence[Prompt], out: Path, *, seed: int, steps: int, look: Look) -> None:
    """Train `model` as the arm says for so many steps, and let `look` see it before each and after the last.

    Raises NumericsError where the loss is no number.
    """
    file = out / "prompts.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    write_text(file, "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    recipe, tokenizer = arm.recipe(steps), load_tokenizer(model)
    run = Run(
        model=model, prompts=file, judge=judge_of(arm.judge), out=out, seed=seed, batch_size=PROMPTS,
        max_length=MAX_LENGTH, precision="float32", tokens_per_micro_batch=8192,
    )  # fmt: skip
    settings = data_settings(recipe, run)
    feed = Played.of(Ready(recipe, run, RunDirectory(out), tokenizer, settings, None, None, None, WHOLE))
    session = begin(feed.recipe, run, (feed.steps, None), saved=None, watch=Silent())
    session = feed.feeding(session, Silent())

    def see(step: int) -> None:
        with session.policy.attending_natively(), evaluating(session.policy.model):
            look(session.policy.model, step)

    never = steps + 1
    plan = Plan(
        steps=session.steps, references=session.references, update=recipe.update, out=out, save_every=never,
        keep_checkpoints=1, eval_every=never, before_step=see,
    )  # fmt: skip
    outcome = train([session.player], plan, Progress(budget=session.budget, identity="claims"))
    if outcome.interrupted:  # asked to end, which the loop does after a step
        raise SystemExit(
            f"Stopped at step {outcome.progress.step} of {steps}. This run starts again; others are kept."
        )
    see(steps)
