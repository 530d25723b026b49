"""Sums of objectives: what they compute, what their contract becomes, and what is refused."""

import inspect
from dataclasses import replace
from typing import ClassVar, get_origin

import pytest
import torch
import yaml

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods import METHODS, credits_of, describe, dump, load, override, recipe
from truenorth.methods.cpo import CPO
from truenorth.methods.dpo import DPO
from truenorth.methods.exo import EXOReward
from truenorth.methods.rpo import RPO, RPOAverage
from truenorth.methods.sft import ChosenSFT, ChosenSFTSum
from truenorth.methods.simpo import SimPO
from truenorth.methods.weighted_sum import WeightedSum, recipe_of
from truenorth.models.references import Cached, Frozen
from truenorth.recipe import Objective

PAIRS = scored([[-6.0, -5.0], [-8.0, -9.5]], [[-6.5, -4.0], [-7.0, -9.0]], length=[[3, 2], [4, 1]])
EXPRESSIONS = ["dpo + 0.2*simpo", "dpo + 0.1*sft_chosen", "exo_rw + 0.5*nca", "kto + bco", "mrpo + dpo", "0.3*dpo"]

OF_PAIRS = [  # all whose contract PAIRS, with rewards, fulfils
    name
    for name in METHODS
    if (objective := recipe(name).objective).candidates in ((2, 2), (2, None))
    and objective.reads <= {"rewards"}
    and objective.score_head is None
    and not objective.columns
    and set(objective.references) <= {"initial"}
]


# What it computes


def test_sum_by_hand():
    # CPO without likelihood at margin beta * 1 = 0.1 and -0.1 * 1.5; the chosen response's nats per token are 2 and 2
    loss = WeightedSum(parts=[(2.0, CPO(beta=0.1, nll_weight=0.0)), (0.5, ChosenSFT())])(PAIRS)
    margins = torch.tensor([-0.1, 0.15], dtype=torch.float64)
    torch.testing.assert_close(loss, 2 * torch.log1p(torch.exp(-margins)) + 0.5 * 2.0)


@pytest.mark.parametrize("name", OF_PAIRS)
def test_one_part_of_weight_one_is_that_part_to_the_bit(name):
    objective = recipe(name).objective
    alone, candidates = (
        WeightedSum(parts=[(1.0, objective)]),
        replace(PAIRS, rewards=torch.tensor([[1.0, 0.0], [3.0, 2.5]])),
    )
    assert torch.equal(alone(candidates), objective(candidates))
    assert torch.equal(alone.implicit_rewards(candidates), objective.implicit_rewards(candidates))


def test_loss_is_linear_in_the_weights():
    def loss(first, second):
        return WeightedSum(parts=[(first, DPO()), (second, SimPO())])(PAIRS)

    torch.testing.assert_close(loss(0.3, 2.0) + loss(0.7, 0.5), loss(1.0, 2.5), rtol=1e-12, atol=0)


def test_dpo_and_the_chosen_ones_likelihood_is_rpo():
    beta, eta = 0.3, 0.7
    ours = WeightedSum(parts=[(1.0, DPO(beta=beta)), (eta * beta, ChosenSFTSum())])
    torch.testing.assert_close(ours(PAIRS), RPO(beta=beta, eta=eta)(PAIRS), rtol=1e-12, atol=0)


def test_dpo_and_sft_on_the_chosen_is_rpo_average():
    ours = WeightedSum(parts=[(1.0, DPO(beta=0.3)), (0.7, ChosenSFT())])
    torch.testing.assert_close(ours(PAIRS), RPOAverage(beta=0.3, eta=0.7)(PAIRS), rtol=1e-12, atol=0)


def test_order_of_the_parts_changes_only_whose_rewards_are_shown():
    one, other = ([(1.0, DPO()), (0.5, SimPO())], [(0.5, SimPO()), (1.0, DPO())])
    torch.testing.assert_close(WeightedSum(parts=one)(PAIRS), WeightedSum(parts=other)(PAIRS), rtol=1e-12, atol=0)
    assert torch.equal(WeightedSum(parts=one).implicit_rewards(PAIRS), DPO().implicit_rewards(PAIRS))
    assert torch.equal(WeightedSum(parts=other).implicit_rewards(PAIRS), SimPO().implicit_rewards(PAIRS))


def test_initial_loss_is_the_loss_at_the_reference_also_of_parts_without_one():
    start = scored(PAIRS.policy.total, PAIRS.policy.total, length=PAIRS.policy.length)
    whole = WeightedSum(parts=[(1.0, DPO()), (0.2, SimPO()), (0.1, ChosenSFT())])
    torch.testing.assert_close(whole.initial_loss(start), whole(start))
    assert WeightedSum(parts=[(1.0, SimPO()), (0.1, ChosenSFT())]).initial_loss(start) is None


# Its contract


def test_every_part_of_the_contract_is_of_the_parts_and_not_of_the_class():
    hints = inspect.get_annotations(Objective)
    contract = [name for name, hint in hints.items() if get_origin(hint) is ClassVar]
    assert "candidates" in contract
    assert [name for name in contract if not isinstance(vars(WeightedSum).get(name), property)] == []


class ByColumn(Objective):
    """A loss of pairs that reads a column and another player."""

    references: ClassVar[tuple[str, ...]] = ("peer", "initial")
    columns: ClassVar[tuple[str, ...]] = ("dispersion",)

    def __call__(self, candidates):
        return candidates.columns["dispersion"] * DPO()(candidates)

    def implicit_rewards(self, candidates):
        return DPO().implicit_rewards(candidates)


def test_contract_is_the_union_of_needs_and_the_intersection_of_what_is_allowed():
    whole = WeightedSum(parts=[(1.0, EXOReward()), (0.5, ByColumn()), (0.1, ChosenSFT())])
    assert whole.candidates == (2, 2)
    assert whole.reads == {"rewards"}
    assert whole.columns == ("dispersion",)
    assert whole.references == ("initial", "peer")
    assert whole.invariances == {"reward_shift"}  # the only part that reads rewards does not mind
    assert WeightedSum(parts=[(1.0, EXOReward()), (0.1, ChosenSFT())]).candidates == (2, None)
    assert WeightedSum(parts=[(1.0, EXOReward()), (0.1, ChosenSFT())]).invariances == {
        "permuted_rejected",
        "reward_shift",
    }


def test_sum_with_coupled_rows_is_coupled():
    assert recipe("dpo + aot").objective.scope == "step"
    assert recipe("dpo + simpo").objective.scope == "row"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("dpo + kto", "no row serves all parts of the sum: DPO takes pairs, KTO takes one answer."),
        ("dpo + 0.1*sft", "To learn the best answer of a row beside the others, take sft_chosen."),
        ("kto + sft", "SFT would learn the bad ones as if they were good"),
        ("dpo + 0*simpo", "'0*simpo' should be a method, or a weight above 0 times a method"),
        ("dpo + -1*simpo", "'-1*simpo' should be a method"),
        ("dpo + x*simpo", "'x*simpo' should be a method"),
        ("dpo +", "'' should be a method"),
        ("dpo + simp", "Did you mean simpo?"),
        ("fedda + simpo", "fedda is more than a loss: in the sum its clients would be left out. Sum losses"),
        ("dpo + cofs_dpo", "its domains would be left out. Train it alone"),
        ("ofs_dpo + simpo", "its chase would be left out. Train it alone."),
        ("simpo + ondare", "its update.merging would be left out. Name it first"),
    ],
)
def test_sum_that_cannot_be_is_refused_with_the_reason(expression, message):
    with pytest.raises(SettingsError) as caught:
        recipe(expression)
    assert message in str(caught.value)


def test_weight_zero_is_refused():
    with pytest.raises(SettingsError, match=r"Weighted's weight must lie in \(0, inf\), got 0"):
        WeightedSum(parts=[{"weight": 0, "objective": DPO()}])


def test_sum_of_nothing_is_refused():
    with pytest.raises(SettingsError, match="must not be empty"):
        WeightedSum(parts=[])


def test_parts_that_want_different_references_of_one_name_are_refused():
    other = recipe("cpo").replace(method="mine", objective=DPO(), references={"initial": Frozen()})
    with pytest.raises(SettingsError, match="dpo and mine want different things of the reference initial"):
        recipe_of([(1.0, recipe("dpo")), (1.0, other)])


def test_part_that_mixes_all_references_refuses_those_of_another_part():
    with pytest.raises(SettingsError, match=r"MRPO mixes every reference .* and peer is there for another part"):
        WeightedSum(parts=[(1.0, recipe("mrpo").objective), (1.0, ByColumn())])


def test_what_a_sum_reads_and_the_recipe_does_not_give_is_refused_by_its_parts_names():
    with pytest.raises(SettingsError, match=r"DPO \+ 0.2 \* SimPO reads the reference\(s\) initial"):
        recipe("dpo + 0.2*simpo").replace(references={})


# As text


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_sum_comes_back_through_yaml(expression):
    whole = recipe(expression)
    assert load(yaml.safe_load(yaml.safe_dump(dump(whole)))) == whole


def test_sum_has_the_references_of_all_and_the_update_of_the_first():
    whole = recipe("simpo + dpo", learning_rate=3e-6)
    assert whole.references == {"initial": Cached()}
    assert whole.update == recipe("simpo", learning_rate=3e-6).update


def test_settings_of_parts_are_refused_where_nobody_can_tell_whose():
    with pytest.raises(SettingsError, match="beta may be a setting of any of its parts"):
        recipe("dpo + simpo", beta=0.2)


def test_file_may_name_the_parts_alone():
    parts = [{"objective": {"kind": "dpo", "beta": 0.2}}, {"weight": 0.3, "objective": {"kind": "sft_chosen"}}]
    loaded = load({"objective": {"kind": "sum", "parts": parts}})
    assert loaded == override(recipe("dpo + 0.3*sft_chosen"), "dpo.beta", 0.2)


@pytest.mark.parametrize("key", ["simpo.weight", "parts.1.weight", "objective.parts.1.weight"])
def test_override_of_a_weight(key):
    assert override(recipe("dpo + 0.2*simpo"), key, "0.7") == recipe("dpo + 0.7*simpo")


@pytest.mark.parametrize("key", ["simpo.beta", "parts.1.objective.beta"])
def test_override_of_a_parts_setting(key):
    changed = override(recipe("dpo + simpo"), key, "5.0").objective
    assert [part.objective for part in changed.parts] == [DPO(), SimPO(beta=5.0)]


@pytest.mark.parametrize(
    ("expression", "key", "message"),
    [
        ("dpo + simpo", "beta", "Did you mean dpo.beta?"),
        ("dpo + simpo", "simpo.weight", "Weighted's weight must lie in (0, inf), got 0"),
        ("dpo + dpo", "dpo.beta", "It has parts.0.weight, parts.0.objective.beta"),
        ("dpo + simpo", "parts.0.objective.kind", "dpo + simpo has no setting parts.0.objective.kind"),
        ("dpo + simpo", "parts", "dpo + simpo has no setting parts"),
    ],
)
def test_override_says_what_is_wrong(expression, key, message):
    with pytest.raises(SettingsError) as caught:
        override(recipe(expression), key, "0")
    assert message in str(caught.value)


def test_description_of_a_sum_tells_of_all_parts():
    about = describe("dpo + 0.2*simpo")
    assert about["title"] == "Direct Preference Optimization + 0.2 * Simple Preference Optimization"
    assert "2305.18290" in about["paper"]
    assert "2405.14734" in about["paper"]
    assert {"dpo.beta", "simpo.beta", "simpo.weight", "update.learning_rate"} <= {
        row["name"] for row in about["settings"]
    }


def test_settings_that_are_described_are_those_that_set_takes():
    whole = recipe("dpo + 0.2*simpo")
    for row in describe("dpo + 0.2*simpo")["settings"]:
        override(whole, row["name"], row["default"])


def test_credits_follow_the_objective_and_not_its_name():
    whole = override(recipe("dpo + 0.2*simpo"), "simpo.weight", 0.7).replace(method="mine")
    assert [(weight, name) for weight, name, *_ in credits_of(whole)] == [(1.0, "dpo"), (0.7, "simpo")]


def test_a_judge_is_no_part_of_a_sum():
    with pytest.raises(SettingsError, match="Reward trains a judge"):
        recipe("dpo + reward")


def test_what_a_refusal_of_more_than_a_loss_advises_works():
    assert recipe("ondare + simpo").update.merging is not None
    whole = recipe("dpo + simpo")
    assert override(whole, "clients.local_steps", "5").clients is not None
    assert override(whole, "domains.memory", "64").domains is not None
