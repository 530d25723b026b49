"""OFS-DPO from end to end: what it is without its term, what it keeps, where it ends, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.many import launch
from tests.tiny import tiny_model
from truenorth import align, chased
from truenorth.data.tokens import TokenizedRows
from truenorth.errors import NumericsError, SettingsError
from truenorth.methods import recipe
from truenorth.models.load import load_model
from truenorth.models.policy import Policy
from truenorth.recipe import Recipe
from truenorth.session import Session
from truenorth.train.chasing import Standing

QUICK: dict[str, Any] = {"batch_size": 4, "precision": "float32", "samples": 0, "max_steps": 4}
RATE = 1e-2


def asked(*, alpha: float = 0.5, clamp: float | None = 10.0, **chase: Any) -> Recipe:
    own = recipe("ofs_dpo", learning_rate=RATE, alpha=alpha, clamp=clamp)
    return own.replace(chase=chase, update=own.update.replace(decay="constant"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def records(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_alpha_zero_is_dpo_at_both_rates_to_the_bit(model: str, pairs: str, tmp_path: Path) -> None:
    align(asked(alpha=0.0, speed_ratio=0.5), model=model, data=pairs, out=tmp_path / "both", **QUICK)
    found = {}
    for rate in (RATE, 0.5 * RATE):
        alone = recipe("dpo").replace(update=asked().update.replace(learning_rate=rate))
        align(alone, model=model, data=pairs, out=tmp_path / f"{rate}", lora={}, **QUICK)
        found[rate] = weights(tmp_path / f"{rate}" / "final")
    assert same(weights(tmp_path / "both" / "final"), found[RATE])
    assert same(weights(tmp_path / "both" / "other"), found[0.5 * RATE])
    assert not same(found[RATE], found[0.5 * RATE])


def test_equal_rates_keep_equal_starts_equal(model: str, pairs: str, tmp_path: Path) -> None:
    result = align(asked(speed_ratio=1.0, interval=2), model=model, data=pairs, out=tmp_path / "run", **QUICK)
    assert same(weights(tmp_path / "run" / "final"), weights(tmp_path / "run" / "other"))
    held = sum(tensor.numel() for tensor in load_file(Path(model) / "model.safetensors").values())
    assert result.summary["parameters"] == held + result.summary["trainable_parameters"]  # the base is held once
    assert {line["chase/gap"] for line in records(tmp_path / "run")} == {0.0}


@pytest.mark.parametrize("swap", ["roles", *(pytest.param(s, marks=pytest.mark.slow) for s in ("rates", "weights"))])
def test_a_run_goes_on_from_a_checkpoint_to_the_same_bits(swap: str, model: str, pairs: str, tmp_path: Path) -> None:
    # a wild slow module is overtaken and overtakes, within and after the interval that the checkpoint cuts
    every = {"model": model, "data": pairs, "eval_data": pairs, **QUICK, "max_steps": 9, "batch_size": 2}
    often = {"save_every": 1, "keep_checkpoints": 9, "eval_every": 4}
    chase = asked(swap=swap, interval=2, speed_ratio=0.9)
    align(chase, out=tmp_path / "whole", **every, **often)
    logged = records(tmp_path / "whole")
    assert {line["chase/swapped"] for line in logged if "chase/swapped" in line} == {0.0, 1.0}
    for step in (3, 5):
        cut = tmp_path / f"cut {step}"
        (cut / "checkpoints").mkdir(parents=True)
        for name in ("run.yaml", "before.json", "account.json", "metrics.jsonl"):
            shutil.copy(tmp_path / "whole" / name, cut / name)
        shutil.copytree(tmp_path / "whole" / "checkpoints" / f"step-{step}", cut / "checkpoints" / f"step-{step}")
        align(chase, out=cut, resume=True, **every, **often)
        assert records(cut) == logged
        for folder in ("final", "other"):
            assert same(weights(cut / folder), weights(tmp_path / "whole" / folder))


@pytest.mark.slow
def test_two_processes_are_one(model: str, pairs: str, tmp_path: Path) -> None:
    settings = {"model": model, "data": pairs, **QUICK, "cache": str(tmp_path / "cache")}
    own = {"learning_rate": 1e-3, "alpha": 0.5}
    job = {"method": "ofs_dpo", "recipe": own, **settings}
    for processes in (1, 2):
        launch(processes, [job | {"out": str(tmp_path / f"{processes}")}], tmp_path / f"jobs {processes}")
    for folder in ("final", "other"):
        one, two = (weights(tmp_path / processes / folder) for processes in ("1", "2"))
        for name in one:
            torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5)


def test_both_modules_are_adapters_that_load(model: str, pairs: str, tmp_path: Path) -> None:
    result = align(asked(), model=model, data=pairs, out=tmp_path / "run", **QUICK)
    for folder in ("final", "other"):
        load_model(str(tmp_path / "run" / folder))
        assert "base_model" in (tmp_path / "run" / folder / "README.md").read_text()
    assert any("first of two modules" in note for note in result.summary["notes"])
    assert not same(weights(tmp_path / "run" / "final"), weights(tmp_path / "run" / "other"))


def test_the_better_module_on_held_out_rows_is_deployed_if_wanted(model: str, pairs: str, tmp_path: Path) -> None:
    # a ratio of a thousandth: the second module has hardly moved, and the first one has learnt the held-out rows
    chase = asked(speed_ratio=1e-3, deployed="best")
    result = align(chase, model=model, data=pairs, eval_data=pairs, out=tmp_path / "run", **QUICK)
    (said,) = [note for note in result.summary["notes"] if "of two modules" in note]
    assert "first" in said
    after = result.summary["evaluation"]["after"]
    assert after["loss/base"] < after["player-1/loss/base"]
    assert after["player-1/loss/base"] == pytest.approx(0.693, abs=0.01)
    with pytest.raises(SettingsError, match="give --eval-data"):
        align(chase, model=model, data=pairs, out=tmp_path / "none", **QUICK)


@pytest.mark.parametrize("better", [0, 1])
@pytest.mark.parametrize("fast", [0, 1])
def test_best_is_the_lower_held_out_loss_whoever_is_fast(
    better: int, fast: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Policy.of(tiny_model(), "float32") for _ in range(2))
    rows: Any = TokenizedRows.of([])
    both: Any = {"players": ["first", "second"], "held_out": rows, "held_out_references": {}, "references": {}}
    session = Session(policy=first, twin=second, steps=None, budget=1, stored_in=torch.float32, **both)  # pyright: ignore
    losses = [{"loss/base": float(place != better)} for place in (0, 1)]
    monkeypatch.setattr(chased, "each_held_out", lambda *_, **__: losses)
    found, [said] = chased.settled(session, asked(deployed="best"), Standing(fast=fast))
    assert found.policy is (first, second)[better]
    assert found.twin is (second, first)[better]
    assert found.players[0] == ("first", "second")[better]
    assert found.deployed == better
    assert ("first", "second")[better] in said
    found, _ = chased.settled(session, asked(deployed="fast"), Standing(fast=fast))
    assert found.policy is (first, second)[fast]


def test_all_weights_are_refused_with_the_way_out(model: str, pairs: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"give --lora RANK.*take dpo"):
        align("ofs_dpo", model=model, data=pairs, out=tmp_path / "run", lora=None, **QUICK)
    assert not (tmp_path / "run").exists()


def test_a_run_whose_margins_run_away_is_stopped_and_explained(model: str, pairs: str, tmp_path: Path) -> None:
    chase = asked(clamp=None, alpha=5.0, stop_at_margin=0.5)
    with pytest.raises(NumericsError, match=r"the margins run away.*--set clamp=10"):
        align(chase, model=model, data=pairs, out=tmp_path / "run", **{**QUICK, "max_steps": 30})
    assert records(tmp_path / "run")[-1]["rewards/margins"] > 0.5


@pytest.mark.slow
def test_activations_that_are_computed_again_change_nothing(model: str, pairs: str, tmp_path: Path) -> None:
    for name, again in (("kept", False), ("again", True)):
        align(asked(), model=model, data=pairs, out=tmp_path / name, gradient_checkpointing=again, **QUICK)
    for folder in ("final", "other"):
        assert same(weights(tmp_path / "kept" / folder), weights(tmp_path / "again" / folder))


def test_an_adapter_is_trained_further_by_both_modules(model: str, pairs: str, tmp_path: Path) -> None:
    align("dpo", model=model, data=pairs, out=tmp_path / "first", lora={"rank": 2}, **QUICK)
    start = tmp_path / "first" / "final"
    result = align(asked(speed_ratio=1e-6), model=str(start), data=pairs, out=tmp_path / "run", **QUICK)
    assert result.summary["step0"]["drift"] <= 1e-4
    for name, tensor in weights(tmp_path / "run" / "other").items():
        torch.testing.assert_close(tensor, weights(start)[name], rtol=0, atol=1e-6)
