"""SALSA by hand, and as DPO where its soup is the start."""

import json
import math

import pytest
import torch

from tests.scored import scored
from tests.test_session import QUICK
from tests.tiny import tiny_directory
from truenorth import align
from truenorth.errors import ModelError, SettingsError
from truenorth.methods import load, override, recipe
from truenorth.methods.dpo import DPO
from truenorth.methods.salsa import SALSA
from truenorth.models.references import Soup
from truenorth.train.run_directory import RunDirectory


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A second SFT model of the same shape."""
    return str(tiny_directory(tmp_path_factory.mktemp("other") / "sft", seed=1))


def losses(out):
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_salsa_by_hand():
    # r = (-1 + 2, -3 + 2.5) = (1, -0.5); margin = 0.5 * 1.5 = 0.75
    loss = SALSA(beta=0.5)(scored([[-1.0, -3.0]], [[-2.0, -2.5]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.75)), rel=1e-12)


def test_salsa_is_dpo_with_another_reference():
    candidates = scored([[-4.0, -7.0], [-1.0, -30.0]], [[-5.0, -6.0], [-3.0, -2.0]])
    assert torch.equal(SALSA(beta=0.3)(candidates), DPO(beta=0.3)(candidates))


def test_a_soup_that_is_all_start_trains_as_dpo_to_the_bit(model, pairs, other, tmp_path):
    dpo = recipe("dpo", learning_rate=1e-3)
    salsa = recipe("salsa", path=other, start_share=1.0).replace(update=dpo.update)
    for name, asked in (("dpo", dpo), ("salsa", salsa)):
        align(asked, model=model, data=pairs, out=tmp_path / name, **QUICK | {"max_steps": 5})
    assert losses(tmp_path / "salsa") == losses(tmp_path / "dpo")


def test_the_first_step_is_not_held_against_log_two(model, pairs, other, tmp_path):
    result = align(recipe("salsa", path=other), model=model, data=pairs, out=tmp_path / "run", **QUICK)
    assert result.summary["step0"] is None
    assert abs(losses(tmp_path / "run")[0] - math.log(2)) > 1e-3


def test_the_second_model_may_be_named_in_python_in_yaml_and_by_set():
    asked = recipe("salsa", path="other", start_share=0.25)
    assert asked.references == {"initial": Soup(path="other", start_share=0.25)}
    references = {"initial": {"kind": "soup", "path": "other", "start_share": 0.25}}
    assert load({"method": "salsa", "references": references}) == asked
    changed = override(recipe("salsa", start_share=0.25), "references.initial.path", "other")
    assert changed == asked


def test_any_method_takes_a_soup_by_two_settings():
    changed = override(recipe("exo"), "references.initial.kind", "soup")
    changed = override(changed, "references.initial.path", "other")
    assert changed.references == {"initial": Soup(path="other")}


@pytest.mark.parametrize("path", [None, "no-such-model"])
def test_a_soup_without_a_second_model_is_refused_before_anything_is_loaded(path, tmp_path):
    asked = recipe("salsa", path=path)
    with pytest.raises(SettingsError, match=r"fine-tuned from the same base: --set references\.initial\.path=\.\.\."):
        align(asked, model="no-such-model", data=["no-such-file.jsonl"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_second_model_of_another_shape_is_refused_before_the_rows_are_read(model, tmp_path):
    wide = str(tiny_directory(tmp_path / "wide", intermediate_size=64))
    with pytest.raises(ModelError, match=r"the tensor model\.layers\.0\.mlp\.gate_proj\.weight is \[64, 32\] in one"):
        align(recipe("salsa", path=wide), model=model, data=["no-such-file.jsonl"], out=tmp_path / "run")
    assert not RunDirectory(tmp_path / "run").settings.exists()
