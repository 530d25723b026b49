"""Training against a reference that moves: what the loss is when it always has, what if it never does, and a kill."""

import math
from pathlib import Path

import pytest
import torch

from tests.tiny import rows_of, tiny_model
from tests.train.test_checkpoint import without_times
from truenorth.data.loader import Steps
from truenorth.data.tokens import TokenizedRows
from truenorth.errors import CheckpointError
from truenorth.methods.dpo import DPO
from truenorth.models.load import with_lora
from truenorth.models.policy import Policy
from truenorth.models.references import Frozen, Moving, Reference
from truenorth.models.scored_references import Start, follow, score_references
from truenorth.optim.update import AdamW
from truenorth.train import checkpoint
from truenorth.train.checkpoint import Progress
from truenorth.train.loop import Plan, train
from truenorth.train.step import Player

ROWS = TokenizedRows.of(rows_of([(6, (5, 3)), (4, (7, 2)), (9, (4, 4)), (3, (2, 6)), (5, (5, 5))]))
UPDATE = AdamW(learning_rate=1e-2, decay="constant")
both = pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])


def begin(out: Path, reference: Reference, *, lora: bool, stop_after: int | None = None) -> tuple[Player, Plan]:
    """Eight steps of two prompts, a checkpoint after every second."""
    model = tiny_model("gpt2")
    torch.manual_seed(0)
    model = (
        with_lora(model, rank=2, alpha=4, targets="all-linear", dropout=0.0) if lora else model.requires_grad_(True)
    )
    policy = Policy.of(model, "float32")
    start = Start(policy, "unused", out, budget=20)
    followers = follow({"initial": reference}, start)
    steps = Steps(ROWS, 2, epochs=3)
    (references,) = score_references({"initial": reference}, start, [(ROWS, steps.used())], followers)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    player = Player(policy.log_probs, DPO(beta=1.0), UPDATE.build(named.values()), named, 1.0, followers)
    out.mkdir(exist_ok=True, parents=True)
    plan = Plan(steps, references, UPDATE, out, save_every=2, keep_checkpoints=9, eval_every=9, stop_after=stop_after)
    return player, plan


def losses(out: Path) -> list[object]:
    return [line["loss"] for line in without_times(out / "metrics.jsonl")]


def run(out: Path, reference: Reference, *, lora: bool) -> Player:
    player, plan = begin(out, reference, lora=lora)
    train([player], plan, Progress(budget=20))
    return player


@both
def test_a_reference_that_is_the_policy_before_every_step_leaves_the_loss_at_log_two(
    lora: bool, tmp_path: Path
) -> None:
    run(tmp_path, Moving(every=1, share=1.0), lora=lora)
    assert losses(tmp_path) == pytest.approx([math.log(2)] * 8, abs=1e-6)
    assert all(line["grad_norm"] > 0.01 for line in without_times(tmp_path / "metrics.jsonl"))


@both
def test_one_that_has_not_moved_yet_trains_as_a_frozen_one_to_the_bit(lora: bool, tmp_path: Path) -> None:
    still = run(tmp_path / "still", Moving(every=100), lora=lora)
    frozen = run(tmp_path / "frozen", Frozen(), lora=lora)
    assert losses(tmp_path / "still") == losses(tmp_path / "frozen")
    for name, parameter in frozen.named_parameters.items():
        assert torch.equal(still.named_parameters[name], parameter)


@both
def test_a_copy_every_third_step_starts_the_loss_again_at_log_two(lora: bool, tmp_path: Path) -> None:
    run(tmp_path, Moving(every=3, share=1.0), lora=lora)
    found = losses(tmp_path)
    assert [found[i] for i in (0, 3, 6)] == pytest.approx([math.log(2)] * 3, abs=1e-6)
    assert all(abs(found[i] - math.log(2)) > 1e-3 for i in (1, 2, 4, 5, 7))


@both
def test_the_larger_the_share_the_nearer_the_reference_stays(lora: bool, tmp_path: Path) -> None:
    shares = [0.01, 0.3, 0.6, 0.9]
    for share in shares:
        run(tmp_path / str(share), Moving(share=share), lora=lora)
    apart = [without_times(tmp_path / str(share) / "metrics.jsonl")[-1]["rewards/margins"] for share in shares]
    assert apart == sorted(apart, reverse=True)


@both
@pytest.mark.parametrize("moving", [Moving(share=0.3), Moving(every=4, share=1.0)], ids=["soft", "hard"])
@pytest.mark.parametrize("stop", [1, 4, 5])
def test_a_resumed_run_ends_with_the_same_bits(moving: Moving, stop: int, lora: bool, tmp_path: Path) -> None:
    whole, out = run(tmp_path / "whole", moving, lora=lora), tmp_path / "parts"
    first, plan = begin(out, moving, lora=lora, stop_after=stop)
    assert train([first], plan, Progress(budget=20)).interrupted
    second, plan = begin(out, moving, lora=lora)
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None
    train([second], plan, checkpoint.restore(newest, [second]))
    for name, parameter in whole.named_parameters.items():
        assert torch.equal(second.named_parameters[name], parameter), name
    ours, theirs = second.followers["initial"].tensors(), whole.followers["initial"].tensors()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert losses(out) == losses(tmp_path / "whole")


@both
def test_a_checkpoint_without_the_reference_is_refused(lora: bool, tmp_path: Path) -> None:
    still, _ = begin(tmp_path / "still", Frozen(), lora=lora)
    saved = checkpoint.save(tmp_path, [still], Progress(step=1), keep=1)
    moving, _ = begin(tmp_path / "moving", Moving(), lora=lora)
    with pytest.raises(CheckpointError, match=r"reference/initial:.* stand in one only"):
        checkpoint.restore(saved, [moving])
