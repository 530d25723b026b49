"""COFS-DPO: its loss is OFS-DPO's, its domains are settings. What it computes over domains is in tests/continual."""

import math

import pytest

from tests.drawn import drawn
from truenorth.continual.plan import single
from truenorth.domains import Domains
from truenorth.errors import SettingsError
from truenorth.methods import dump, load, override, recipe


def test_a_domain_is_trained_by_ofs_dpo() -> None:
    ours, theirs = recipe("cofs_dpo", alpha=0.3), recipe("ofs_dpo", alpha=0.3)
    assert ours.replace(method="ofs_dpo", domains=None) == theirs


def test_ratios_and_baselines_have_the_loss_that_both_modules_share() -> None:
    alone = single(recipe("cofs_dpo", inner={"beta": 0.5}))
    assert alone.method == "dpo"
    assert alone.objective == recipe("dpo", beta=0.5).objective
    candidates = drawn(alone.objective, seed=1)
    ratio = candidates.policy.total - candidates.references["initial"].total
    margin = 0.5 * float(ratio[0, 0] - ratio[0, 1])
    assert float(alone.objective(candidates)[0]) == pytest.approx(math.log1p(math.exp(-margin)), rel=1e-6)
    assert single(recipe("simpo").replace(domains=Domains())) == recipe("simpo")


def test_its_domains_are_settings_and_are_saved() -> None:
    changed = override(override(recipe("cofs_dpo"), "domains.column", "topic"), "domains.order", "[a, b]")
    assert changed.domains == Domains(column="topic", order=("a", "b"))
    assert load(dump(changed)) == changed
    assert load({"method": "cofs_dpo", "domains": {"memory": 8}}).domains == Domains(memory=8)


@pytest.mark.parametrize("name", ["dpo", "exo", "simpo", "kto"])
def test_any_method_on_rows_goes_over_domains_by_one_setting(name: str) -> None:
    ours = override(recipe(name), "domains.ratios", "[1, 0.5]")
    assert ours == recipe(name).replace(domains=Domains(ratios=(1.0, 0.5)))
    assert override(ours, "domains.memory", "8").domains == Domains(ratios=(1.0, 0.5), memory=8)
    assert override(recipe(name), "domains", "{memory: 8}").domains == Domains(memory=8)


def test_rounds_do_not_go_over_domains() -> None:
    with pytest.raises(SettingsError, match=r"`domains` and `schedule`, .*Take one of them out"):
        override(recipe("online_dpo"), "domains.memory", "8")
