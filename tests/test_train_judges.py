"""Reward and preference models as runs: what they write, and that a stop changes nothing."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import tiny_directory
from truenorth import align, job
from truenorth.errors import ModelError, SettingsError
from truenorth.methods import recipe
from truenorth.recipe import Recipe
from truenorth.train import loop
from truenorth.train.checkpoint import Progress
from truenorth.train.loop import Outcome, Plan
from truenorth.train.step import Player

QUICK: dict[str, Any] = {"batch_size": 2, "precision": "float32", "seed": 3, "tokens_per_micro_batch": 64}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_directory(tmp_path_factory.mktemp("sft")))


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rows of three answers, of which two are as good in every second row."""
    file = tmp_path_factory.mktemp("data") / "ranked.jsonl"
    rows = [
        {
            "prompt": f"Number {i}?",
            "responses": [f"The boat {i} was slow.", f"Grey rain {i}, and more of it.", f"It was {i} o'clock."],
            "scores": [0.5, 0.9 if i % 2 else 0.5, 0.1],
        }
        for i in range(6)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def judge(method: str, **settings: Any) -> Recipe:
    return recipe(method, learning_rate=1e-3, **settings)


def final(out: Path) -> dict[str, torch.Tensor]:
    return load_file(next((out / "final").glob("*.safetensors")))


@pytest.mark.parametrize(
    ("method", "first"), [("reward", math.log(2)), ("reward_plackett_luce", (math.log(6) + math.log(9)) / 2)]
)
def test_a_run_starts_as_theory_says_and_leaves_a_classifier(
    method: str, first: float, model: str, ranked: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = align(judge(method), model=model, data=ranked, out=out, eval_data=ranked, **(QUICK | {"batch_size": 6}))
    assert result.summary["step0"] is not None
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert records[0]["loss"] == pytest.approx(first, abs=1e-5)
    assert records[0]["rewards/margins"] == 0
    assert not [name for name in records[0] if name.startswith("logps/")]
    assert 0 <= records[-1]["judge/calibration_error"] <= 1
    config = json.loads((out / "final" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert final(out)["score.weight"].any()
    assert "lm_head.weight" not in final(out)
    report = (out / "report.html").read_text()
    assert "Reliability" in report
    assert json.loads((out / "samples.json").read_text()) == []


@pytest.mark.parametrize(
    ("method", "lora"),
    [
        ("reward", {"rank": 2}),
        pytest.param("preference", None, marks=pytest.mark.slow),
        pytest.param("reward", None, marks=pytest.mark.slow),
        pytest.param("preference", {"rank": 2}, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_stopped_ends_with_the_same_bits(
    method: str, lora: dict[str, int] | None, model: str, ranked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more: dict[str, Any] = QUICK | {"lora": lora, "save_every": 1, "epochs": 1 if method == "preference" else 2}
    more |= {"pairing": "all_pairs"} if method == "preference" else {}
    align(judge(method), model=model, data=ranked, out=tmp_path / "whole", **more)
    with monkeypatch.context() as stop:
        stop_after(stop, 2)
        stopped = align(judge(method), model=model, data=ranked, out=tmp_path / "cut", **more)
    assert stopped.interrupted
    align(judge(method), model=model, data=ranked, out=tmp_path / "cut", resume=True, **more)
    whole, cut = final(tmp_path / "whole"), final(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def stop_after(patch: pytest.MonkeyPatch, step: int) -> None:
    """Make runs stop after `step`, as Ctrl-C would."""

    def train(players: Sequence[Player], plan: Plan, progress: Progress) -> Outcome:
        return loop.train(players, replace(plan, stop_after=step), progress)

    patch.setattr(job, "train", train)


def test_a_preference_model_needs_room_for_both_answers(model: str, tmp_path: Path) -> None:
    long = tmp_path / "long.jsonl"
    answer = "The boat was slow and the crew was kind. " * 25
    long.write_text(json.dumps({"prompt": "How?", "chosen": answer, "rejected": answer + "No."}) + "\n")
    with pytest.raises(SettingsError, match=r"answers, one behind the other, has \d+. Use --max-length 256"):
        align(judge("preference"), model=model, data=str(long), out=tmp_path / "run", **QUICK)


def test_a_judge_made_of_a_model_that_has_no_classifier_is_refused_before_data_are_read(tmp_path: Path) -> None:
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(ModelError, match="no sequence classifier for mamba"):
        align(judge("reward"), model=str(tmp_path / "sft"), data="nowhere.jsonl", out=tmp_path / "run")
