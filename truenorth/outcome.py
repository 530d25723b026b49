"""What comes out of a run: what was measured before and after, the summary, the model card and the final model."""

import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from . import methods
from .data.chat import Encoder
from .data.tokens import Ints
from .evaluate.preferences import each_held_out
from .evaluate.progress import Watch
from .evaluate.rounding import Totals, rounding, tells, totals
from .evaluate.saving import saving
from .feeds import Ready
from .files import write_json
from .models.classifier import export_classifier
from .models.export import Final, export
from .models.policy import Policy
from .models.sharding import whole_weights
from .online.prompts import as_turn, read_prompts
from .online.sampler import generate
from .online.sampling import Sampling, encode
from .recipe import Recipe
from .run import Run
from .session import Session, first_step
from .train.checkpoint import Progress
from .train.loop import by_player
from .train.modules import exchanged
from .train.rounding import Rounding
from .train.run_directory import RunDirectory
from .train.saving import ADVICE, MEANING, Saving
from .train.step import Player

PACKAGES = ("truenorth", "torch", "transformers", "peft", "datasets")
JUDGES_OF = {"answers": "reward", "orders": "preference"}  # the kind of judge that a head of scores makes
ANSWER = Sampling(max_new_tokens=128, temperature=0.7)  # of the samples in the report


def sample_prompts(prompts: Iterable[Ints], count: int, *, context: int | None) -> list[Ints]:
    """The first `count` different prompts that leave room for an answer in the model's context, as token ids."""
    most = None if context is None else context - ANSWER.max_new_tokens
    found: dict[bytes, Ints] = {}
    for prompt in prompts:
        if len(found) == count:
            break
        if most is None or len(prompt) <= most:
            found.setdefault(prompt.tobytes(), prompt)
    return list(found.values())


def prompts_of(file: Path, tokenizer: PreTrainedTokenizerBase) -> list[Ints]:
    """The prompts of a file as token ids; text goes through the chat template, where there is one, as a user's."""
    encoder, chat = Encoder(tokenizer), bool(tokenizer.chat_template)
    given = [as_turn(prompt) if chat else prompt for prompt in read_prompts(file)]
    return [np.array(encode(prompt, encoder), np.int32) for prompt in given]


def answers(session: Session, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Ints], *, seed: int) -> list[str]:
    """One answer to each prompt, drawn with the same seed before and after training."""
    if not prompts:
        return []
    policy: Policy = session.policy
    with policy.attending_natively(), policy.autocast():
        drawn = generate(
            policy.model,
            tokenizer,
            prompts=[prompt.tolist() for prompt in prompts],
            sampling=ANSWER.replace(seed=seed),
        )
    return [responses[0].text for responses in drawn]


def measured_before(
    session: Session, recipe: Recipe, directory: RunDirectory, *, sample: Callable[[], list[str]], watch: Watch
) -> dict[str, Any]:
    """What was measured before the first step; read from before.json when a resumed run has it already."""
    file = directory.file("before.json")
    if session.sharding.processes.world.first_says(file.exists()):
        return json.loads(file.read_text(encoding="utf-8"))
    watch.stage("checking the first step")
    check = first_step(recipe, session)
    watch.stage("answering and scoring before training")
    found = {
        "step0": None if check is None else asdict(check),
        "held_out": measured(session, session.players),
        "totals": in_both_precisions(session, recipe),
        "answers": sample(),
        "notes": [f"Prompts were not shared: {session.policy.scorer.fallback}."] * bool(session.policy.scorer.fallback)
        + ["The head that tells how much was deleted was trained beside the model and is not part of it."]
        * (recipe.objective.degree_head is not None),
    }
    directory.write(file.name, found)
    return found


def measured(session: Session, players: Sequence[Player]) -> dict[str, float]:
    """Metrics of the held-out rows, none where there are no such rows."""
    if session.held_out is None:
        return {}
    with session.evaluating():
        rows, references = session.held_out, session.held_out_references
        return by_player(each_held_out(players, rows, references, budget=session.budget, group=session.data))


def in_both_precisions(session: Session, recipe: Recipe) -> Mapping[str, Totals] | None:
    """`evaluate.rounding.totals` of the policy. None where margins are float32 anyway, where they are of more than the
    policy and its start, and of shards: FSDP gathers layers in bfloat16."""
    rows, policy = session.held_out, session.policy
    if rows is None or policy.precision == "float32" or session.sharding.sizes.shards > 1 or not tells(recipe):
        return None
    with session.evaluating():
        return totals(policy, rows, budget=session.budget)


def _rounding(session: Session, recipe: Recipe, before: Mapping[str, Any]) -> Rounding | None:
    """What the run's precision does to its margins, where that was asked at the start too."""
    start, end = before.get("totals"), in_both_precisions(session, recipe)
    if start is None or end is None or session.held_out is None:
        return None
    return rounding(recipe, session.held_out, start=start, end=end)


def summarise(
    ready: Ready, session: Session, progress: Progress, *, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    """summary.json: what the run says of itself at its end. `before` and `after` hold the held-out metrics."""
    recipe, run = ready.recipe, ready.run
    weights, names, titles, papers = zip(*methods.credits_of(recipe), strict=True)
    papers = [paper for paper in dict.fromkeys(papers) if paper]
    models = [session.policy.model] + ([session.twin.model] if session.twin is not None else [])
    parameters = list({p: None for model in models for p in model.parameters()})  # frozen ones are held once
    held_out = before.get("held_out", {})
    if session.deployed:
        held_out = exchanged(held_out)  # as `after`: the module that is the result first
    rounded = _rounding(session, recipe, before)
    drowned = [f"The accuracies say little: {rounded.said}."] if rounded is not None and rounded.drowned else []
    return {
        "method": _summed(weights, names),
        "methods": list(names),
        "title": _summed(weights, titles),
        "paper": "; ".join(papers),
        "base_model": run.model,
        "steps": progress.step,
        "prompts": progress.prompts,
        "tokens": progress.tokens,
        "seconds": progress.seconds,
        "tokens_per_second": progress.tokens / max(progress.seconds, 1e-9),
        "processes": session.sharding.processes.world.size,
        "layout": str(session.sharding.sizes),
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for player in session.players for p in player.parameters),
        "device": torch.cuda.get_device_name()
        if session.policy.device.type == "cuda"
        else platform.processor() or "cpu",
        "precision": session.policy.precision,
        "deployed": None if session.twin is None else session.deployed,
        "rounding": None if rounded is None else asdict(rounded),
        "saved_as": _saved_as(run, session),
        "saving": None,  # measured on whole weights, by `finish`
        "tokens_per_micro_batch": session.budget,
        "prompts_shared": session.policy.scorer.shared,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "step0": before.get("step0"),
        "evaluation": {"before": held_out, "after": dict(after)} if after else None,
        "citations": papers,
        "notes": [*before.get("notes", []), *drowned],
    }


def _summed(weights: Sequence[float], parts: Sequence[str]) -> str:
    """A sum in words, or its only part.

    >>> _summed([1.0, 0.2], ["dpo", "simpo"])
    'dpo + 0.2*simpo'
    """
    return " + ".join(part if w == 1 else f"{w:g}*{part}" for w, part in zip(weights, parts, strict=True))


def finish(
    ready: Ready,
    session: Session,
    summary: Mapping[str, Any],
    samples: tuple[Sequence[Ints], Sequence[str], Sequence[str]],
) -> dict[str, Any]:
    """Write samples.json, summary.json and the final model, which all processes put together and the first writes, and
    beside it the module that is not the result, where there are two.

    `samples` are prompts, answers before and after. Gives the summary with what writing the weights takes from them.
    """
    directory, tokenizer, start = ready.directory, ready.tokenizer, ready.run.model
    world, dtype = session.sharding.processes.world, getattr(torch, summary["saved_as"])
    weights = whole_weights(session.policy.model, world)
    others = None if session.twin is None else whole_weights(session.twin.model, world)
    found = saving(session.policy.model, weights, start, dtype) if directory.writes else None
    summary = _with_saving(summary, world.first_says(found))
    if not directory.writes:
        return summary
    shown = [
        {"prompt": str(tokenizer.decode(prompt, skip_special_tokens=True)), "before": old, "after": new}
        for prompt, old, new in zip(*samples, strict=True)
    ]
    write_json(directory.file("samples.json"), shown)
    write_json(directory.file("summary.json"), summary)
    final = Final(weights, start, dtype, tokenizer, model_card(summary, directory))
    if session.twin is not None and others is not None:
        card = f"{final.card}\nThis is the module that was not deployed; the one in `final` was.\n"
        export(session.twin.model, directory.other, replace(final, weights=others, card=card))
    if (head := session.player.objective.score_head) is None:
        export(session.policy.model, directory.final, final)
    else:
        about = {"kind": JUDGES_OF[head.ends], "answer": "up to the token that ends it"}
        export_classifier(session.policy.model, session.score_weight, directory.final, final=final, about=about)
    return summary


def _saved_as(run: Run, session: Session) -> str:
    """The dtype that `final` is written in."""
    if isinstance(session.policy.model, PeftModel):
        return "float32"
    return str(session.stored_in).removeprefix("torch.") if run.save_as == "auto" else run.save_as


def _with_saving(summary: Mapping[str, Any], found: Saving | None) -> dict[str, Any]:
    """The summary with what writing the weights takes from them, and a note where that is most, or is not known."""
    notes = [found.note] if found is not None and found.note else []
    return {**summary, "saving": None if found is None else asdict(found), "notes": [*summary["notes"], *notes]}


def model_card(summary: Mapping[str, Any], directory: RunDirectory) -> str:
    """The README.md of the final model: front matter for the hub, how it was made, what was measured."""
    front = {
        "library_name": "transformers",
        "base_model": summary["base_model"],
        "tags": ["truenorth", *summary["methods"]],
    }
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False).strip(),
        "---",
        "",
        f"# {summary['base_model']}, aligned with {summary['title']}",
        "",
        f"Trained with TrueNorth {summary['versions']['truenorth']}, {summary['steps']} steps.",
        f"Method: {summary['paper']}" if summary["paper"] else "",
        "",
    ]
    after = (summary["evaluation"] or {}).get("after", {})
    if "rewards/accuracies" in after:
        low, high = (after[f"rewards/accuracies/{end}"] for end in ("low", "high"))
        interval = f"95 %: {low:.1%} to {high:.1%}, {after['count']:.0f} prompts"
        lines += [f"Held-out reward accuracy: {after['rewards/accuracies']:.1%} ({interval}).", ""]
        if summary["rounding"] and (rounded := Rounding(**summary["rounding"])).drowned:
            lines += [f"That says little: {rounded.said}.", ""]
    if summary["saving"] and (written := Saving(**summary["saving"])).loses:
        lines += [f"{written.said}. {MEANING}, and figures here are of the trained one. To have it: {ADVICE}.", ""]
    lines += ["```yaml", directory.settings.read_text(encoding="utf-8").strip(), "```", ""]
    return "\n".join(lines)
