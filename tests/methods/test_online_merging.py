"""OnDARE and OnTIES as runs: what they are made of, what is refused, and that they go on where they were killed."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tests.test_session import QUICK
from tests.tiny import tiny_directory
from tests.train.test_checkpoint import plan, player
from truenorth import align
from truenorth.errors import ModelError, SettingsError
from truenorth.methods import describe, load, override, recipe
from truenorth.methods.dpo import DPO
from truenorth.methods.online_merging import OnDARE, OnTIES
from truenorth.optim.hfac import HFac
from truenorth.optim.merging import Merged
from truenorth.optim.update import AdamW
from truenorth.train import checkpoint
from truenorth.train.checkpoint import Progress
from truenorth.train.loop import train

NAMES = ["ondare", "onties"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny_directory(tmp_path_factory.mktemp("base") / "base", seed=1))


def weights(out):
    return load_file(next((out / "final").glob("*.safetensors")))


def test_the_loss_is_dpo_s():
    for name in NAMES:
        assert recipe(name, beta=0.2).objective == DPO(beta=0.2)


def test_the_presets_differ_where_paper_and_code_do():
    assert OnDARE.as_released("b") == OnDARE(base="b", keep=0.01)
    assert OnDARE.as_written("b") == OnDARE(base="b", rescale="none", task_mask="fresh")
    assert OnTIES.as_released("b") == OnTIES(base="b")
    assert OnTIES.as_written("b") == OnTIES(base="b", vote="weighted")


def test_onties_by_hand():
    update, task = torch.tensor([1e-6, -1e-6, 2e-6, -1e-6]), torch.tensor([1e-3, 1e-3, 0.0, -2e-3])
    # alpha tau = (1e-4, 1e-4, 0, -2e-4) at alpha 0.1, and outweighs 0.9 delta in either vote.
    expected = torch.tensor([0.9e-6 + 1e-4, 1e-4, 1.8e-6, -0.9e-6 - 2e-4])
    for vote in ("weighted", "unweighted"):
        torch.testing.assert_close(OnTIES(alpha=0.1, vote=vote).combined(update.clone(), task), expected)


def test_any_update_of_any_method_merges_by_two_settings():
    changed = override(recipe("ipo"), "update.merging.kind", "ondare")
    changed = override(changed, "base", "my-base")
    assert changed.update.merging == OnDARE(base="my-base")
    assert override(changed, "update.kind", "hfac").update.merging == OnDARE(base="my-base")
    assert override(changed, "update.merging.kind", "onties").update.merging == OnTIES(base="my-base")
    written = {"method": "ipo", "update": {"merging": {"kind": "ondare", "base": "my-base"}}}
    assert load(written).update.merging == OnDARE(base="my-base")


def test_another_kind_of_rule_keeps_what_was_set_and_has_its_own_defaults():
    ondare = override(override(recipe("ondare"), "alpha", "1e-3"), "base", "b")
    changed = override(ondare, "update.merging.kind", "onties").update.merging
    assert changed == OnTIES(base="b", alpha=1e-3)
    assert changed.keep != ondare.update.merging.keep
    own = override(override(ondare, "keep", "0.3"), "update.merging.kind", "onties")
    assert own.update.merging.keep == 0.3


def test_bare_settings_of_a_rule_are_found():
    changed = override(override(recipe("onties"), "vote", "weighted"), "beta", "0.3")
    assert changed == recipe("onties", beta=0.3).replace(
        update=AdamW(warmup_steps=100, decay="cosine", merging=OnTIES(vote="weighted"))
    )
    with pytest.raises(SettingsError, match="dpo has no setting base"):
        override(recipe("dpo"), "base", "my-base")


def test_a_rule_s_settings_are_shown_with_the_method():
    rows = {row["name"]: row for row in describe("ondare")["settings"]}
    assert rows["update.merging.keep"]["default"] == 0.1
    assert rows["beta"]["default"] == 0.1
    assert describe("onties")["title"].startswith("OnTIES")


@pytest.mark.parametrize("name", NAMES)
def test_a_run_moves_towards_sft_and_away_from_its_base(name, model, pairs, base, tmp_path):
    asked = override(override(override(recipe(name, base=base), "alpha", 0.01), "keep", 0.5), "update.warmup_steps", 0)
    align(asked, model=model, data=pairs, out=tmp_path / "run", **QUICK)
    start, before, found = (
        load_file(f"{model}/model.safetensors"),
        load_file(f"{base}/model.safetensors"),
        weights(tmp_path / "run"),
    )
    moved, task = (torch.cat([(a[n] - b[n]).flatten() for n in found]) for a, b in ((found, start), (start, before)))
    assert float(torch.cosine_similarity(moved, task, dim=0)) > 0.5
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary


def test_without_a_pull_and_with_all_kept_a_run_is_dpo_with_adamw_to_the_bit(model, pairs, tmp_path):
    idle = recipe("ondare", inner=AdamW(learning_rate=1e-3))
    idle = override(override(idle, "alpha", 0), "keep", 1)
    plain = recipe("dpo").replace(update=AdamW(learning_rate=1e-3))
    for name, asked in (("idle", idle), ("plain", plain)):
        align(asked, model=model, data=pairs, out=tmp_path / name, **QUICK)
    a, b = weights(tmp_path / "idle"), weights(tmp_path / "plain")
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("inner", [AdamW(learning_rate=1e-2), HFac(learning_rate=1e-2)], ids=lambda u: u.kind)
@pytest.mark.parametrize(
    "rule",
    [OnDARE(alpha=0.1, keep=0.02), OnDARE(alpha=0.1, keep=0.3, every=3), OnTIES(alpha=0.1, keep=0.02)],
    ids=lambda r: f"{r.kind}-{r.every}",
)
def test_a_resumed_run_ends_with_the_same_bits(inner, rule, tmp_path):
    def merged():
        learner = player(inner)
        named = learner.named_parameters
        task = {name: torch.full_like(p, 1e-3).detach() for name, p in named.items()}
        return replace(learner, optimizer=Merged(learner.optimizer, rule, task, named, seed=5))

    whole = merged()
    train([whole], plan(tmp_path / "whole", inner), Progress(budget=20))
    out = tmp_path / "parts"
    assert train([merged()], plan(out, inner, stop_after=4), Progress(budget=20)).interrupted
    second = merged()
    newest = checkpoint.newest(out / "checkpoints")
    train([second], plan(out, inner), checkpoint.restore(newest, [second]))
    for name, parameter in whole.named_parameters.items():
        assert torch.equal(parameter, second.named_parameters[name]), name


# Refused before anything is loaded


@pytest.mark.parametrize("name", NAMES)
def test_a_run_needs_a_base(name, model, tmp_path):
    with pytest.raises(SettingsError, match=r"needs the model that .* was fine-tuned from: --set base=\.\.\."):
        align(name, model=model, data=["no-such-file.jsonl"], out=tmp_path / "run")


def test_the_start_is_no_base_of_itself(model, tmp_path):
    with pytest.raises(SettingsError, match="SFT minus base is zero"):
        align(recipe("ondare", base=model), model=model, data=["no-such-file.jsonl"], out=tmp_path / "run")


def test_an_adapter_is_refused_with_the_way_out(model, base, tmp_path):
    with pytest.raises(SettingsError, match=r"without --lora.*truenorth merge"):
        align(recipe("ondare", base=base), model=model, data=["no.jsonl"], out=tmp_path / "run", lora={"rank": 2})


def test_a_base_of_another_shape_is_refused_by_the_name_of_the_tensor(model, tmp_path):
    wide = str(tiny_directory(tmp_path / "wide", intermediate_size=64))
    with pytest.raises(
        ModelError, match=r"the tensor model\.layers\.0\.mlp\.gate_proj\.weight is \[64, 32\] in the base"
    ):
        align(recipe("ondare", base=wide), model=model, data=["no.jsonl"], out=tmp_path / "run")
