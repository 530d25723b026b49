"""Sweeps of tiny models: every point is the merge that it names, and a killed sweep goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_directory
from truenorth import merge, sweep
from truenorth.errors import CheckpointError, DataError, SettingsError
from truenorth.evaluate.trade_off import TradeOff
from truenorth.fitting import Fit
from truenorth.sweeps.evaluation import Evaluation
from truenorth.sweeps.yardstick import Yardstick

THINGS = ("bell", "mill", "hound", "pudding")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two models, pairs and texts."""
    folder = tmp_path_factory.mktemp("given")
    base, model = (str(tiny_directory(folder / name, seed=seed)) for seed, name in enumerate(("base", "model")))
    pairs, texts = folder / "pairs.jsonl", folder / "texts.txt"
    rows = [{"prompt": f"Is the {t} old?", "chosen": f"The {t} is.", "rejected": "No."} for t in THINGS]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts.write_text("".join(f"The {t} rang on Monday.\n" for t in THINGS))
    return {"models": [model], "base": base, "eval_data": str(pairs), "ability_data": str(texts)}


def swept(given: dict[str, Any], out: Path, over: str = "alpha=-1,0,0.5", **more: Any) -> TradeOff:
    return sweep("expo", over=over, out=out, **given, **more)


def test_ends_of_expo_are_the_models_and_every_point_is_its_merge(given: dict[str, Any], tmp_path: Path) -> None:
    found = {point.name: point.rows for point in swept(given, tmp_path / "out").points}
    assert list(found) == ["base", "model", "alpha=-1", "alpha=0", "alpha=0.5"]
    assert found["base"] == found["alpha=-1"]
    assert found["model"] == found["alpha=0"]
    made = merge("expo", given["models"], base=given["base"], out=tmp_path / "made", alpha=0.5)
    measured_by = Evaluation(eval_data=given["eval_data"], ability_data=given["ability_data"])
    again = measured_by.yardstick(given["models"][0]).of(str(made))
    for name, values in found["alpha=0.5"].items():
        assert values == pytest.approx(again[name], rel=1e-6)


def test_a_sweep_leaves_its_numbers_and_its_page_and_no_model(given: dict[str, Any], tmp_path: Path) -> None:
    swept(given, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["sweep.html", "sweep.jsonl"]


def test_models_are_kept_where_that_is_asked(given: dict[str, Any], tmp_path: Path) -> None:
    swept(given, tmp_path / "out", "alpha=0,0.5", keep_all=True)
    assert (tmp_path / "out/alpha=0.5/model.safetensors").exists()
    assert "alpha: 0.5" in (tmp_path / "out/alpha=0.5/README.md").read_text()


class Killed(Exception):
    """Stands for a kill."""


def killing(after: int) -> Callable[..., Any]:
    """`Yardstick.of` that is killed once it has measured so many models."""
    measure, left = Yardstick.of, after

    def of(self: Yardstick, path: str) -> Any:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return measure(self, path)

    return of


def test_a_killed_sweep_goes_on_with_what_it_has(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = swept(given, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Yardstick, "of", killing(3))
        with pytest.raises(Killed):
            swept(given, tmp_path / "out")
    file = tmp_path / "out/sweep.jsonl"
    assert len(file.read_text().splitlines()) == 1 + 3
    file.write_text(file.read_text() + '{"point": "alpha=0", "ro')  # what a kill cuts
    (tmp_path / "out/.merged").mkdir()
    (tmp_path / "out/.merged/model.safetensors").write_text("what a kill leaves")
    with monkeypatch.context() as patch:
        patch.setattr(Yardstick, "of", killing(2))  # no more than are left
        assert swept(given, tmp_path / "out") == whole
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["sweep.html", "sweep.jsonl"]
    assert file.read_text() == (tmp_path / "whole/sweep.jsonl").read_text()


def test_further_values_join_a_sweep(given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept(given, tmp_path / "out")
    monkeypatch.setattr(Yardstick, "of", killing(1))
    found = swept(given, tmp_path / "out", "alpha=0,0.25")
    assert [point.value for point in found.merges] == [-1, 0, 0.25, 0.5]
    assert [point.name for point in found.points][:3] == ["base", "model", "alpha=-1"]
    assert all(f">{point.name}" in (tmp_path / "out/sweep.html").read_text() for point in found.merges)


def test_points_of_other_models_or_data_do_not_join_it(given: dict[str, Any], tmp_path: Path) -> None:
    swept(given, tmp_path / "out", "alpha=0,1")
    with pytest.raises(CheckpointError, match="holds numbers with another base, model"):
        swept(given | {"base": given["models"][0], "models": [given["base"]]}, tmp_path / "out", "alpha=0,1")
    with pytest.raises(CheckpointError, match="holds numbers with another ability_data"):
        swept(given | {"ability_data": None}, tmp_path / "out", "alpha=0,1")


def letters(prompt: object, answer: str) -> float:
    assert prompt == "Who is old?"
    return len(answer)


def no_answer(prompt: object, answer: str) -> float:
    raise ValueError(f"{prompt} {answer[:0]}is not mine to say")


def test_a_judge_of_answers_measures_rewards(given: dict[str, Any], tmp_path: Path) -> None:
    asked = {"prompts": ["Who is old?"], "judge": letters, "sampling": {"max_new_tokens": 5, "k": 3}}
    found = swept(given, tmp_path / "out", "alpha=-1,0", **asked)
    assert found.reward == "reward"
    rewards = {point.name: point.rows["reward"] for point in found.points}
    assert rewards["base"] == rewards["alpha=-1"] != rewards["alpha=0"]


def test_a_judge_without_a_verdict_ends_the_sweep(given: dict[str, Any], tmp_path: Path) -> None:
    asked = {"prompts": ["Who is old?"], "judge": no_answer, "sampling": {"max_new_tokens": 5}}
    with pytest.raises(DataError, match=r"gave no reward to an answer to .*is not mine to say"):
        swept(given, tmp_path / "out", "alpha=0,1", **asked)


def test_hma_is_fitted_at_each_value(given: dict[str, Any], tmp_path: Path) -> None:
    parts = {name: given[name] for name in ("models", "base", "eval_data")}
    found = sweep("hma", over="alpha=0.2,0.4", out=tmp_path / "out", fit=Fit(data=given["eval_data"]), keep_all=True,
                  ratios=(1, 1), **parts)  # fmt: skip
    assert len(found.merges) == 2
    for value in ("0.2", "0.4"):
        card = (tmp_path / f"out/alpha={value}/README.md").read_text()
        assert "were fitted to" in card
        assert f"alpha: {value}" in card


@pytest.mark.parametrize(
    ("over", "more", "message"),
    [
        ("alpha=0..1", {"eval_data": None, "ability_data": None}, "a sweep measures what it merges"),
        ("alpha=0..1", {"judge": "a:b"}, "--prompts and a --judge"),
        ("alpha=0..1", {"alpha": 1}, "alpha is swept, and set as well"),
        ("alhpa=0..1", {}, "alhpa is not a setting of ExPO. Did you mean alpha?"),
        ("alpha=0..1", {"models": ["a", "b"]}, "expo takes 1 model (--models), got 2"),
        ("alpha=0..1", {"out": "tests"}, "tests exists and is no sweep"),
        ("alpha=0..1", {"fit": Fit(data="x")}, "only hma has ratios to fit"),
    ],
)
def test_wrong_use_is_refused(
    given: dict[str, Any], tmp_path: Path, over: str, more: dict[str, Any], message: str
) -> None:
    asked: dict[str, Any] = {"out": tmp_path / "out", **given, **more}
    with pytest.raises(SettingsError) as caught:
        sweep("expo", over=over, **asked)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()
