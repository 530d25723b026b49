"""`truenorth merge` as it is typed: what is refused, and what a sweep says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import Tensor
from typer.testing import CliRunner, Result

from tests.tiny import tiny_directory
from truenorth import weights, world
from truenorth.cli import app
from truenorth.weights.merge import TensorMerge
from truenorth.weights.slices import NamedTensor

TWO = ["--models", str(world.sft_model()), "--base", str(world.base_model())]
REWARDED = ["--sweep", "alpha=0..1", "--prompts", str(Path(__file__)), "--judge"]


def run(*args: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["merge", *args])


def test_a_sweep_prints_every_point_and_the_page(tmp_path: Path) -> None:
    base, model = (str(tiny_directory(tmp_path / name, seed=seed)) for seed, name in enumerate(("base", "model")))
    texts, prompts = tmp_path / "texts.txt", tmp_path / "prompts.txt"
    texts.write_text("The bell rang.\nThe mill is old.\n")
    prompts.write_text("Who is old?\n")
    asked = ["--models", model, "--base", base, "--out", str(tmp_path / "out"), "--sweep", "alpha=-1,0"]
    measured = ["--ability-data", str(texts), "--prompts", str(prompts), "--judge", "tests.judged:length"]
    found = run("expo", *asked, *measured, "--max-new-tokens", "4", "--k", "2")
    assert found.exit_code == 0, found.output
    assert found.stdout.strip() == str(tmp_path / "out/sweep.html")
    lines = found.output.splitlines()
    assert any(line.split()[:2] == ["reward", "Δ"] for line in lines)
    shown = {line.split()[0] for line in lines if line.strip()}
    assert {"base", "model", "alpha=-1", "alpha=0"} <= shown
    assert "None was chosen" in found.output


def test_ratios_are_fitted_from_the_command_line(tmp_path: Path) -> None:
    base, model = (str(tiny_directory(tmp_path / name, seed=seed)) for seed, name in enumerate(("base", "model")))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "Who is old?", "response": "The bell is."}) + "\n")
    asked = ["--models", model, "--base", base, "--out", str(tmp_path / "out"), "--set", "ratios=[1,1]"]
    found = run("hma", *asked, "--fit-data", str(rows))
    assert found.exit_code == 0, found.output
    assert "were fitted to the log-prob per token" in found.output
    assert (tmp_path / "out/model.safetensors").exists()


@pytest.mark.parametrize(
    ("how", "more", "message"),
    [
        ("expo", ["--eval-data", "x.jsonl"], "--eval-data: for a --sweep alone"),
        ("expo", ["--judge", "a:b", "--k", "2"], "--judge, --k: for a --sweep alone"),
        ("expo", ["--keep-all"], "--keep-all: for a --sweep alone"),
        ("expo", ["--sweep", "alpha=0..1"], "a sweep measures what it merges"),
        ("expo", ["--sweep", "alpha=0..1", "--eval-data", "a.jsonl", "b.jsonl"], "takes one --eval-data, got 2"),
        ("expo", ["--sweep", "alpha=0..1", "--ability-data", "no.jsonl"], "no.jsonl does not exist"),
        ("expo", ["--sweep", "alpha=0..1", "--prompts", "no.txt", "--judge", "a:b"], "there is no file no.txt"),
        ("expo", [*REWARDED, "nowhere:f"], "'nowhere:f' cannot be imported"),
        (
            "expo",
            [*REWARDED, "tests.judged:shorter"],
            "must give rewards, a number for each answer; tests.judged:shorter compares two answers",
        ),
        ("expo", [*REWARDED, "reward:somewhere"], "there is no model folder somewhere"),
        ("hma", ["--fit-data", "no.jsonl"], "no.jsonl does not exist"),
        ("hma", ["--fit-prompts", "no.txt"], "--fit-prompts needs a --judge"),
        ("hma", ["--set", "ratios=1,2"], "a list is written in brackets, --set ratios=[1,2]"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_loaded(
    tmp_path: Path, how: str, more: list[str], message: str
) -> None:
    found = run(how, *TWO, "--out", str(tmp_path / "out"), *more)
    assert found.exit_code == 1
    assert message in found.output
    assert "loading" not in found.output


class Leaning(TensorMerge):
    """A user's own merge, with a setting that has no default."""

    share: float

    def __call__(self, tensor: NamedTensor) -> Iterator[Tensor]:
        for part in tensor.slices():
            yield weights.average(part.models, [self.share, 1 - self.share])


def test_a_merge_of_ones_own_may_have_a_setting_without_a_default(tmp_path: Path) -> None:
    models = [str(tiny_directory(tmp_path / name, seed=seed)) for seed, name in enumerate("ab")]
    line = [f"{__name__}:Leaning", "--models", *models, "--out", str(tmp_path / "out")]
    assert "Leaning needs share" in run(*line).output
    found = run(*line, "--set", "share=0.25")
    assert found.exit_code == 0, found.output
    assert (tmp_path / "out/model.safetensors").exists()
