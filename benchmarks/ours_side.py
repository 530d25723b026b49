"""TrueNorth's side of a comparison: the library's own session and training loop, one step at a time when told to."""

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import torch
from protocol import Parent, perturb
from torch import Tensor

from truenorth.contrasts import soft_pair
from truenorth.data.options import DataSettings, Needs
from truenorth.data.prepare import Prepared, prepare
from truenorth.evaluate.progress import Silent
from truenorth.methods.dpo import DPO
from truenorth.models.load import load_tokenizer
from truenorth.models.references import Cached, Frozen
from truenorth.optim.update import AdamW
from truenorth.recipe import Objective, Recipe
from truenorth.run import LoRA, Run
from truenorth.session import Session, begin
from truenorth.train.checkpoint import Progress
from truenorth.train.loop import Plan, train
from truenorth.types import Candidates


class BestAgainstEach(Objective):
    """DPO of the best answer against each other one, each pair counting once: what TRL computes from the pairs."""

    kind: ClassVar[str] = "best_against_each"
    candidates: ClassVar = (2, None)

    beta: float = 0.1

    def __call__(self, candidates: Candidates) -> Tensor:
        rewards = self.implicit_rewards(candidates)
        return soft_pair(rewards[:, :1] - rewards[:, 1:], 1.0).mean(1)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")


def main() -> None:
    settings = json.loads(sys.argv[1])
    parent = Parent()
    recipe, run = _recipe(settings), _run(settings)
    data = _prepare(recipe, run)
    session = begin(recipe, run, (data, None), saved=None, watch=Silent())
    perturb(session.player.named_parameters, settings["noise"])
    rows, steps = session.steps.rows, range(session.steps.count)
    order = [[rows[i].row - 1 for i in session.steps.indices(step)] for step in steps]
    batches = [_sizes(session, step) for step in steps]
    answers = {"log_probs": lambda: {"log_probs": _first_log_probs(session)}}
    lengths = [[len(r) for r in rows[i].responses] for i in session.steps.indices(0)]  # tokens, first step
    said = {"order": order, "batches": batches, "lengths": lengths, "budget": session.budget}
    parent.send({**said, "torch": torch.__version__})
    parent.wait_for_step(answers)

    def stepped(record: Any) -> None:
        parent.step_is_done({name: record[name] for name in ("loss", "grad_norm")})
        parent.wait_for_step(answers)

    plan = Plan(
        steps=session.steps,
        references=session.references,
        update=recipe.update,
        out=run.out,
        save_every=session.steps.count + 1,
        keep_checkpoints=1,
        eval_every=session.steps.count + 1,
        watch=stepped,
    )
    train([session.player], plan, Progress(budget=session.budget, identity="benchmark"))


def _recipe(settings: dict[str, Any]) -> Recipe:
    return Recipe(
        method="benchmark",
        objective=DPO(beta=0.1) if settings["answers"] == 2 else BestAgainstEach(beta=0.1),
        references={"initial": Cached() if settings["cached"] else Frozen()},
        update=AdamW(learning_rate=settings["learning_rate"], decay="constant", max_grad_norm=1.0),
    )


def _run(settings: dict[str, Any]) -> Run:
    out = Path(settings["folder"]) / "ours"
    out.mkdir(exist_ok=True)
    (out / "metrics.jsonl").unlink(missing_ok=True)
    return Run(
        model=settings["model"],
        data=[settings["rows"]],
        out=out,
        max_steps=settings["steps"] + 1,  # the last one writes a checkpoint, and is not taken
        batch_size=settings["prompts"],
        precision=settings["precision"],
        tokens_per_micro_batch=settings.get("tokens_at_once"),
        lora=LoRA(rank=16, alpha=32.0) if settings["lora"] else None,
    )


def _prepare(recipe: Recipe, run: Run) -> Prepared:
    needs = Needs(candidates=recipe.objective.candidates)
    tokenizer = load_tokenizer(run.model)
    return prepare([(run.data[0].path, 1.0)], tokenizer, settings=DataSettings(needs=needs, on_problem="keep"))


def _sizes(session: Session, step: int) -> list[tuple[int, int]]:
    """[micro-batches] inputs and response tokens."""
    batches = session.steps.batches(step, budget=session.budget)
    return [(len(batch.tokens), len(batch.targets)) for batch in batches]


def _first_log_probs(session: Session) -> list[list[float]]:
    """[rows of the first step][K] nats, in the order in which the step draws the rows."""
    found: dict[int, list[float]] = {}
    with torch.no_grad():
        for batch in session.steps.batches(0, budget=session.budget):
            found |= dict(zip(batch.rows, session.policy.log_probs(batch).total.tolist(), strict=True))
    return [found[i] for i in session.steps.indices(0)]


if __name__ == "__main__":
    main()
