"""Ratios of HMA that are fitted: never worse than equal ones, their mean held."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_directory
from truenorth import merge, score
from truenorth.errors import SettingsError
from truenorth.fitting import Fit, Fitter
from truenorth.merges.expo import ExPO
from truenorth.merges.hma import HMA
from truenorth.models.load import load_model, load_tokenizer
from truenorth.online.sampling import Sampling

ROWS = [{"prompt": f"Tell me of {thing}.", "response": f"The {thing} is old."} for thing in ("bell", "mill", "hound")]


def rows(folder: Path, given: Sequence[dict[str, Any]] = ROWS) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in given))
    return str(file)


def models(folder: Path, *seeds: int) -> list[str]:
    return [
        str(tiny_directory(folder / f"m{place}", seed=seed, num_hidden_layers=3)) for place, seed in enumerate(seeds)
    ]


def log_prob_per_token(folder: Path) -> float:
    found = score(
        load_model(str(folder)), load_tokenizer(str(folder)), [r | {"responses": [r["response"]]} for r in ROWS]
    )
    return float(found.total.sum() / found.length.sum())


def test_the_merge_with_fitted_ratios_finds_the_answers_likelier_and_holds_the_mean(tmp_path: Path) -> None:
    base, model = models(tmp_path, 0, 1)
    equal = merge("hma", [model], base=base, out=tmp_path / "equal", alpha=0.3)
    fitted = merge("hma", [model], base=base, out=tmp_path / "fitted", alpha=0.3, fit=Fit(data=rows(tmp_path)))
    assert log_prob_per_token(fitted) > log_prob_per_token(equal) + 0.01
    found = Fitter(model, base, Fit(data=rows(tmp_path)))(HMA(alpha=0.3))
    assert sum(found.how.shares) / 3 == pytest.approx(0.3, rel=1e-12)
    assert log_prob_per_token(fitted) == pytest.approx(found.found.value, abs=1e-5)
    assert log_prob_per_token(equal) == pytest.approx(found.found.at_start, abs=1e-5)
    assert "were fitted to the log-prob per token" in (fitted / "README.md").read_text()


def test_of_two_models_that_are_one_the_ratios_stay_equal(tmp_path: Path) -> None:
    base, model = models(tmp_path, 1, 1)
    assert Fitter(model, base, Fit(data=rows(tmp_path)))(HMA(alpha=0.3)).how.ratios == (1.0, 1.0, 1.0)


def test_one_block_has_nothing_to_fit_and_is_averaging(tmp_path: Path) -> None:
    base, model = models(tmp_path, 0, 1)
    found = Fitter(model, base, Fit(data=rows(tmp_path)))(HMA(alpha=0.3, ratios=(1,)))
    assert found.how == HMA(alpha=0.3, ratios=(1,))
    assert found.found.tried == 1


def test_of_several_answers_the_best_is_learnt(tmp_path: Path) -> None:
    base, model = models(tmp_path, 0, 1)
    single = Fitter(model, base, Fit(data=rows(tmp_path)))(HMA(alpha=0.3))
    (tmp_path / "more").mkdir()
    both = [{"prompt": r["prompt"], "chosen": r["response"], "rejected": "No."} for r in ROWS]
    assert Fitter(model, base, Fit(data=rows(tmp_path / "more", both)))(HMA(alpha=0.3)).how == single.how


def different_letters(prompt: object, answer: str) -> float:
    del prompt
    return len(set(answer))


def test_by_a_judge_the_reward_of_the_mixtures_own_answers_does_not_fall(tmp_path: Path) -> None:
    base, model = models(tmp_path, 0, 1)
    asked = Fit(
        prompts=["Tell me of the bell.", "Who are you?"],
        judge=different_letters,
        sampling=Sampling(max_new_tokens=12, k=2),
        tries=8,
    )
    found = Fitter(model, base, asked)(HMA(alpha=0.4))
    assert found.found.value >= found.found.at_start
    assert sum(found.how.shares) / 3 == pytest.approx(0.4, rel=1e-9)
    again = Fitter(model, base, asked)(HMA(alpha=0.4))
    assert again.how == found.how  # the draws are the same


def test_a_fitter_serves_several_alphas(tmp_path: Path) -> None:
    base, model = models(tmp_path, 0, 1)
    fitter = Fitter(model, base, Fit(data=rows(tmp_path)))
    fitter(HMA(alpha=0.6))
    alone = Fitter(model, base, Fit(data=rows(tmp_path)))(HMA(alpha=0.2))
    assert fitter(HMA(alpha=0.2)).how == alone.how


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (ExPO(), "only hma has ratios to fit, not expo"),
        (HMA(alpha=0.0), "with alpha 0 HMA is one of the two models"),
        (HMA(ratios=(1, 2)), "fitting starts from equal ratios and finds others; got [1.0, 2.0]"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_anything_is_read(how: Any, message: str, tmp_path: Path) -> None:
    base, model = (tiny_directory(tmp_path / name, seed=0) for name in "ab")
    with pytest.raises(SettingsError) as caught:
        merge(how, [model], base=base, out=tmp_path / "out", fit=Fit(data="nowhere.jsonl"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "given", [{}, {"data": "a", "prompts": "b", "judge": "tests.judged:length"}, {"prompts": "b"}]
)
def test_a_fit_is_by_data_or_by_a_judge(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="--fit-"):
        Fit(**given)
