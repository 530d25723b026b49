"""In which dtype a run writes its model, and that it says where little of what it trained is left there."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.test_outcome import at
from tests.tiny import tiny_directory
from truenorth import align
from truenorth.errors import SettingsError
from truenorth.evaluate.terminal import lines_of
from truenorth.job import Result

QUICK: dict[str, Any] = {"batch_size": 8, "samples": 0, "max_steps": 2, "precision": "float32"}
SAID = "not the one that was trained"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Stored in bfloat16."""
    sft = tiny_directory(tmp_path_factory.mktemp("model") / "sft")
    halved = {name: tensor.bfloat16() for name, tensor in load_file(sft / "model.safetensors").items()}
    save_file(halved, sft / "model.safetensors", metadata={"format": "pt"})
    (sft / "config.json").write_text(json.dumps(json.loads((sft / "config.json").read_text()) | {"dtype": "bfloat16"}))
    return str(sft)


def weights(of: Result) -> dict[str, Tensor]:
    return load_file(of.out / "final" / "model.safetensors")


def everything_said(of: Result) -> str:
    card = (of.out / "final" / "README.md").read_text()
    return " ".join([*lines_of(of.out, of.report), *of.summary["notes"], card])


def test_float32_keeps_what_bfloat16_rounds_away(model: str, pairs: str, tmp_path: Path) -> None:
    """The lost model, the kept one, and the lost one written again: one training, three files."""
    asked: dict[str, Any] = {"model": model, "data": pairs, **QUICK}
    lost = align(at("dpo", 1e-7), out=tmp_path / "lost", **asked)
    kept = align(at("dpo", 1e-7), out=tmp_path / "kept", save_as="float32", **asked)
    assert {tensor.dtype for tensor in weights(kept).values()} == {torch.float32}
    assert all(torch.equal(kept.bfloat16(), weights(lost)[name]) for name, kept in weights(kept).items())
    assert lost.summary["saving"]["unchanged"] > 0.9
    assert (kept.summary["saved_as"], kept.summary["saving"]) == ("float32", None)
    assert json.loads((lost.out / "summary.json").read_text()) == lost.summary
    assert any(line.startswith("x The model that is written is not the one") for line in lines_of(lost.out, None))
    assert any(SAID in note for note in lost.summary["notes"])
    assert SAID in (lost.out / "final" / "README.md").read_text()
    assert SAID not in everything_said(kept)
    (lost.out / "final").rename(tmp_path / "rounded")
    again = align(at("dpo", 1e-7), out=lost.out, resume=True, save_as="float32", **asked)
    assert all(torch.equal(kept, weights(again)[name]) for name, kept in weights(kept).items())


@pytest.mark.parametrize(("rate", "settings"), [(1e-2, {}), (1e-7, {"lora": {"rank": 2}})])
def test_large_steps_and_adapters_are_as_they_were_trained(
    rate: float, settings: dict[str, Any], model: str, pairs: str, tmp_path: Path
) -> None:
    found = align(at("dpo", rate), model=model, data=pairs, out=tmp_path / "run", **QUICK, **settings)
    assert found.summary["saved_as"] == ("float32" if settings else "bfloat16")
    assert SAID not in everything_said(found)
    if settings:
        adapter = load_file(tmp_path / "run" / "final" / "adapter_model.safetensors")
        assert {tensor.dtype for tensor in adapter.values()} == {torch.float32}


def test_a_judge_is_written_as_asked(model: str, pairs: str, tmp_path: Path) -> None:
    found = align("reward", model=model, data=pairs, out=tmp_path / "run", save_as="float32", **QUICK)
    assert {tensor.dtype for tensor in weights(found).values()} == {torch.float32}
    assert json.loads((found.out / "final" / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.parametrize(
    ("settings", "said"), [({"save_as": "int8"}, "float16"), ({"save_as": "bfloat16", "lora": {"rank": 2}}, "adapter")]
)
def test_what_cannot_be_written_is_refused_before_a_model_is_loaded(
    settings: dict[str, Any], said: str, model: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("truenorth.session.load_policy")  # would be missed
    with pytest.raises(SettingsError, match=said):
        align("dpo", model=model, data=pairs, out=tmp_path / "run", **QUICK, **settings)
    assert not (tmp_path / "run").exists()


def test_what_is_written_is_read_by_whom_the_umask_lets(model: str, pairs: str, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        found = align("dpo", model=model, data=pairs, out=tmp_path / "run", **QUICK)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in (found.out / "final").iterdir()} == {0o644}
