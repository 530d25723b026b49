"""Whether a run says that its margins are rounding: in its summary, its findings, its headline and its model card."""

from pathlib import Path
from typing import Any

import pytest

from truenorth import align
from truenorth.evaluate.terminal import lines_of
from truenorth.methods import recipe
from truenorth.recipe import Recipe

QUICK: dict[str, Any] = {"batch_size": 8, "samples": 0, "max_steps": 3}
SAID = "within bfloat16's rounding"


def at(method: str, rate: float) -> Recipe:
    """At the same rate in each step."""
    own = recipe(method, learning_rate=rate)
    return own.replace(update=own.update.replace(warmup_steps=0, warmup_share=0, decay="constant"))


@pytest.mark.parametrize(
    ("method", "settings"), [("dpo", {}), ("dpo", {"lora": {"rank": 2}}), ("ofs_dpo", {"lora": {"rank": 2}})]
)
def test_a_run_in_bfloat16_with_tiny_steps_says_that_margins_are_rounding(
    method: str, settings: dict[str, Any], model: str, pairs: str, tmp_path: Path
) -> None:
    asked = recipe(method, learning_rate=1e-7)
    found = align(
        asked,
        model=model,
        data=pairs,
        eval_data=pairs,
        out=tmp_path / "run",
        precision="bfloat16",
        **QUICK,
        **settings,
    )
    rounding = found.summary["rounding"]
    assert rounding["difference"] > rounding["margin"] / 2 > 0
    assert any(SAID in note for note in found.summary["notes"])
    told = lines_of(found.out, found.report)
    assert "held-out accuracy is not known" in told[0]
    assert any(line.startswith("x Margins are within bfloat16's rounding.") for line in told)
    assert SAID in (found.out / "final" / "README.md").read_text()
    assert found.report is not None
    assert f"Margins are {SAID}".replace("'", "&#39;") in found.report.read_text()


@pytest.mark.parametrize(("precision", "rate"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_a_run_in_float32_or_with_large_margins_says_nothing(
    precision: str, rate: float, model: str, pairs: str, tmp_path: Path
) -> None:
    asked = recipe("dpo", learning_rate=rate)
    asked = asked.replace(update=asked.update.replace(warmup_steps=0, decay="constant"))
    found = align(asked, model=model, data=pairs, eval_data=pairs, out=tmp_path / "run", precision=precision, **QUICK)
    assert (found.summary["rounding"] is None) == (precision == "float32")
    everything = " ".join([*lines_of(found.out, found.report), *found.summary["notes"]])
    assert "rounding" not in everything
    assert "held-out accuracy is not known" not in everything
    assert "rounding" not in (found.out / "final" / "README.md").read_text()
