"""Rounds that go on: with the prompts and the judge that they began with, or not at all."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.feeds.test_played import QUICK, short
from truenorth import align, job
from truenorth.errors import CheckpointError


@pytest.fixture
def begun(model: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a run was asked that was interrupted in its second round."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"What of number {i}?\n" for i in range(8)))
    learn: dict[str, Any] = {"batch_size": 4, "precision": "float32", "samples": 0, "max_steps": 1}
    align("reward", model=model, data=pairs, out=tmp_path / "judge", **learn)
    judge = f"reward:{tmp_path / 'judge' / 'final'}"
    asked: dict[str, Any] = {"model": model, "prompts": str(prompts), "judge": judge, "out": tmp_path / "run", **QUICK}
    train = job.train
    with monkeypatch.context() as until:
        until.setattr(job, "train", lambda p, plan, at: train(p, dataclasses.replace(plan, stop_after=3), at))
        assert align(short(rounds=2), **asked).interrupted
    return asked


def test_the_same_prompts_and_judge_go_on(begun: dict[str, Any]) -> None:
    assert align(short(rounds=2), resume=True, **begun).summary["steps"] == 4


def test_other_prompts_are_another_run(begun: dict[str, Any]) -> None:
    file = Path(begun["prompts"])
    file.write_text(file.read_text().replace("number 3", "number 33"))
    with pytest.raises(CheckpointError, match="the rows or prompts"):
        align(short(rounds=2), resume=True, **begun)


def test_a_judge_that_was_trained_since_is_another(begun: dict[str, Any]) -> None:
    (weights,) = Path(begun["judge"].removeprefix("reward:")).glob("*.safetensors")
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(CheckpointError, match="a model's files have changed"):
        align(short(rounds=2), resume=True, **begun)
