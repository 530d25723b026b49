"""TR-DPO by hand, and its runs against DPO's. What moves is tested in tests/models/test_moving.py."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from tests.scored import scored
from tests.test_session import QUICK
from truenorth import align, job, score
from truenorth.errors import CheckpointError
from truenorth.methods import override, recipe
from truenorth.methods.dpo import DPO
from truenorth.methods.tr_dpo import TRDPO, TRDPOHard
from truenorth.models.load import load_model, load_tokenizer
from truenorth.models.references import Moving
from truenorth.train.loop import train

both = pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["full", "lora"])


def lines(out):
    """What a run has logged, without times."""
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in found]


def fast(name, **reference):
    """The method at a rate at which a few steps move a tiny model."""
    asked = recipe(name, **reference)
    return asked.replace(update=recipe("dpo", learning_rate=1e-3).update.replace(warmup_steps=0))


@pytest.mark.parametrize("method", [TRDPO, TRDPOHard])
def test_tr_dpo_by_hand(method):
    # r = (-1 + 2, -3 + 2.5) = (1, -0.5); margin = 0.5 * 1.5 = 0.75
    loss = method(beta=0.5)(scored([[-1.0, -3.0]], [[-2.0, -2.5]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.75)), rel=1e-12)


@pytest.mark.parametrize("method", [TRDPO, TRDPOHard])
def test_tr_dpo_is_dpo_with_the_reference_of_the_moment(method):
    candidates = scored([[-4.0, -7.0], [-1.0, -30.0]], [[-5.0, -6.0], [-3.0, -2.0]])
    assert torch.equal(method(beta=0.3)(candidates), DPO(beta=0.3)(candidates))


def test_the_recipes_differ_in_how_the_reference_moves():
    assert recipe("tr_dpo").references == {"initial": Moving(every=1, share=0.6)}
    assert recipe("tr_dpo_hard").references == {"initial": Moving(every=512, share=1.0)}


def test_any_method_takes_a_reference_that_moves_by_two_settings():
    changed = override(recipe("exo"), "references.initial.kind", "moving")
    changed = override(changed, "references.initial.every", "64")
    assert changed.references == {"initial": Moving(every=64)}


@both
def test_a_reference_that_never_comes_to_move_is_dpos_to_the_bit(lora, model, pairs, tmp_path):
    frozen = fast("tr_dpo").replace(references={"initial": {"kind": "frozen"}})
    for name, asked in (("moving", fast("tr_dpo", every=100)), ("frozen", frozen)):
        settings = QUICK | {"max_steps": 5, "lora": lora, "eval_data": pairs}
        align(asked, model=model, data=pairs, out=tmp_path / name, **settings)
    assert lines(tmp_path / "moving") == lines(tmp_path / "frozen")


@both
def test_the_first_step_is_held_against_log_two_and_every_one_starts_there_at_a_share_of_one(
    lora, model, pairs, tmp_path
):
    result = align(
        fast("tr_dpo", share=1.0), model=model, data=pairs, out=tmp_path, lora=lora, **QUICK | {"max_steps": 5}
    )
    assert result.summary["step0"]["expected"] == pytest.approx(math.log(2))
    assert [line["loss"] for line in lines(tmp_path)] == pytest.approx([math.log(2)] * 5, abs=1e-6)


def test_held_out_rows_are_measured_against_the_reference_of_the_step(model, pairs, tmp_path):
    # moved whole for every step, it makes margins those of single steps: together they are those of the whole way
    settings = QUICK | {"max_steps": 4, "eval_every": 1, "precision": "float32"}
    align(fast("tr_dpo", share=1.0, every=1), model=model, data=pairs, eval_data=pairs, out=tmp_path, **settings)
    margins = [line["rewards/margins"] for line in lines(tmp_path) if line["split"] == "eval"]
    gaps = []
    for path in (model, tmp_path / "final"):
        rows = [json.loads(line) for line in Path(pairs).read_text().splitlines()]
        asked = [{"prompt": row["prompt"], "responses": [row["chosen"], row["rejected"]]} for row in rows]
        total = score(load_model(str(path)), load_tokenizer(str(path)), asked).total
        gaps.append(float((total[:, 0] - total[:, 1]).mean()))
    beta = recipe("tr_dpo").objective.beta
    assert sum(margins) == pytest.approx(beta * (gaps[1] - gaps[0]), abs=1e-5)
    assert all(abs(margin) > 1e-3 for margin in margins)


@pytest.mark.parametrize(("kind", "lora"), [("tr_dpo", None), ("tr_dpo_hard", {"rank": 2})])
def test_an_interrupted_run_goes_on_to_the_same_numbers(kind, lora, model, pairs, tmp_path, monkeypatch):
    asked = fast(kind, every=2)
    settings = {"model": model, "data": pairs, "eval_data": pairs, "lora": lora, "eval_every": 2, "save_every": 1}
    settings |= QUICK | {"max_steps": 6}
    align(asked, out=tmp_path / "whole", **settings)
    monkeypatch.setattr(job, "train", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # killed before its first step
        align(asked, out=tmp_path / "parts", **settings)
    monkeypatch.undo()
    for stop in (1, 3, 4):
        monkeypatch.setattr(
            job, "train", lambda players, plan, progress, stop=stop: train(players, stopping(plan, stop), progress)
        )
        assert align(asked, out=tmp_path / "parts", resume=True, **settings).interrupted
    monkeypatch.undo()
    align(asked, out=tmp_path / "parts", resume=True, **settings)
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")


def stopping(plan, step):
    return dataclasses.replace(plan, stop_after=step)


def test_a_run_whose_reference_moves_otherwise_is_another_run(model, pairs, tmp_path):
    align(fast("tr_dpo"), model=model, data=pairs, out=tmp_path, **QUICK)
    with pytest.raises(CheckpointError, match=r"references\.initial\.share was 0\.6 .* is 0\.5 now"):
        align(fast("tr_dpo", share=0.5), model=model, data=pairs, out=tmp_path, resume=True, **QUICK)
