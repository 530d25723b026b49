"""A run that was killed goes on to the same bits, and a checkpoint is whole or not there."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import rows_of, tiny_model
from truenorth.data.loader import Steps
from truenorth.data.tokens import TokenizedRows
from truenorth.errors import CheckpointError
from truenorth.methods.dpo import DPO
from truenorth.models.modes import set_training
from truenorth.models.policy import Policy
from truenorth.optim.update import AdamW, RMSprop, Update
from truenorth.train import checkpoint
from truenorth.train.checkpoint import Progress
from truenorth.train.loop import Plan, train
from truenorth.train.step import Player

SHAPES = [(6, (5, 3)), (4, (7, 2)), (9, (4, 4)), (3, (2, 6)), (5, (5, 5))]


def player(update: Update, *, dropout: bool = False) -> Player:
    model = tiny_model("gpt2", resid_pdrop=0.1).requires_grad_(True)
    set_training(model, dropout=dropout)
    policy, named = Policy.of(model, "float32"), dict(model.named_parameters())
    return Player(policy.log_probs, DPO(), update.build(named.values()), named, 1.0)


def plan(out: Path, update: Update, *, stop_after: int | None = None) -> Plan:
    steps = Steps(TokenizedRows.of(rows_of(SHAPES)), 2, epochs=3)
    frozen = torch.no_grad()(Policy.of(tiny_model("gpt2", seed=1), "float32").log_probs)
    out.mkdir(exist_ok=True)
    return Plan(
        steps, {"initial": frozen}, update, out, save_every=2, keep_checkpoints=2, eval_every=3, stop_after=stop_after
    )


@pytest.mark.parametrize("update", [AdamW(learning_rate=1e-2), RMSprop(learning_rate=1e-2)], ids=lambda u: u.kind)
@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_resumed_run_ends_with_the_same_bits(update: Update, stop: int, tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = player(update, dropout=True)  # dropout: the random state must come back too
    train([whole], plan(tmp_path / "whole", update), Progress(budget=20))

    torch.manual_seed(3)
    out = tmp_path / "parts"
    assert train([player(update, dropout=True)], plan(out, update, stop_after=stop), Progress(budget=20)).interrupted
    torch.manual_seed(99)
    second = player(update, dropout=True)
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None
    train([second], plan(out, update), checkpoint.restore(newest, [second]))

    for name, parameter in whole.named_parameters.items():
        assert torch.equal(parameter, second.named_parameters[name]), name
    assert without_times(out / "metrics.jsonl") == without_times(tmp_path / "whole" / "metrics.jsonl")


def without_times(log: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_lines_of_steps_that_a_kill_took_back_are_dropped(tmp_path: Path) -> None:
    update = AdamW(learning_rate=1e-2)
    first = player(update)
    train([first], plan(tmp_path, update, stop_after=4), Progress(budget=20))
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "split": "train"}\n{"step": 6, "spl')
    second = player(update)
    newest = checkpoint.newest(tmp_path / "checkpoints")
    assert newest is not None
    train([second], plan(tmp_path, update), checkpoint.restore(newest, [second]))
    assert [line["step"] for line in without_times(tmp_path / "metrics.jsonl")] == list(range(1, 9))


def kill(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("function", ["_write", "put_in_place", "_random_state"])
def test_a_kill_while_saving_leaves_the_last_checkpoint_whole(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = player(AdamW())
    checkpoint.save(tmp_path, [learner], Progress(step=1), keep=2)
    monkeypatch.setattr(checkpoint, function, kill)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, [learner], Progress(step=2), keep=2)
    newest = checkpoint.newest(tmp_path)
    assert newest is not None
    assert newest.name == "step-1"
    assert checkpoint.restore(newest, [learner]).step == 1


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (2, 9, 10):
        checkpoint.save(tmp_path, [player(AdamW())], Progress(step=step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-9"]


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, [player(AdamW())], Progress(step=1), keep=1)
    other = player(AdamW())
    fewer = dict(list(other.named_parameters.items())[1:])
    with pytest.raises(CheckpointError, match="other trained parameters"):
        checkpoint.restore(saved, [Player(other.log_probs, other.objective, other.optimizer, fewer, None)])


def test_a_checkpoint_holds_no_pickle(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, [player(AdamW())], Progress(step=1), keep=1)
    assert {file.suffix for file in saved.rglob("*") if file.is_file()} == {".safetensors", ".json"}
    assert "cpu" in load_file(saved / "random-0.safetensors")


def test_what_a_kill_left_of_another_step_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".step-7.new").mkdir()
    checkpoint.save(tmp_path, [player(AdamW())], Progress(step=8), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-8"]
