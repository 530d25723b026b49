"""The table of methods: lazy, and the way from names, YAML and `--set` to recipes and back."""

import subprocess
import sys
from typing import ClassVar

import pytest
import yaml
from torch import Tensor

from truenorth.errors import SettingsError
from truenorth.methods import METHODS, describe, dump, load, override, recipe
from truenorth.models.references import Cached, Frozen, OtherModel
from truenorth.optim.update import AdamW, RMSprop, TorchOptimizer
from truenorth.recipe import Objective, Recipe
from truenorth.types import Candidates


class MyLoss(Objective):
    """A user's own objective, without a short kind."""

    candidates: ClassVar[tuple[int, int | None]] = (2, None)
    push: float = 1.0

    def __call__(self, candidates: Candidates) -> Tensor:
        return -self.push * candidates.log_ratio()[:, 0]

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return candidates.log_ratio()


def my_recipe(*, push: float = 2.0) -> Recipe:
    return Recipe(method="mine", objective=MyLoss(push=push), references={"initial": Frozen()})


def test_importing_the_table_imports_no_torch():
    check = "import sys, truenorth.methods; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_methods_stand_in_order_of_publication():
    papers = [describe(name)["paper"].partition("arXiv:")[2][:10] for name in METHODS]
    assert papers == sorted(papers)


@pytest.mark.parametrize("name", METHODS)
def test_name_and_module_give_the_same_recipe(name):
    module, _, function = METHODS[name].partition(":")
    assert getattr(sys.modules.get(module) or __import__(module, fromlist=[function]), function)() == recipe(name)


def test_unknown_method_names_the_nearest():
    with pytest.raises(SettingsError, match=r"no method 'simp'\. Did you mean simpo\?"):
        recipe("simp")


def test_misspelt_setting_names_the_nearest():
    with pytest.raises(SettingsError, match=r"epsilom is not a setting of EXO\. Did you mean epsilon\?"):
        recipe("exo", epsilom=0.1)


def test_recipe_may_be_a_users_own_function():
    assert recipe(f"{__name__}:my_recipe", push=3.0) == my_recipe(push=3.0)


# load and dump


def test_dump_is_what_the_documents_show():
    text = """
        method: exo
        objective: {kind: exo, beta: 0.2, epsilon: 0.001}
        references: {initial: {kind: cached, path: null}}
    """
    dumped = dump(recipe("exo", beta=0.2))
    assert {part: dumped[part] for part in ("method", "objective", "references")} == yaml.safe_load(text)


def test_users_own_recipe_comes_back_from_its_dump():
    assert load(dump(my_recipe())) == my_recipe()


def test_users_own_objective_is_saved_by_module_and_class():
    assert dump(my_recipe())["objective"] == {"kind": f"{__name__}:MyLoss", "push": 2.0}


def test_name_alone_loads_the_methods_own_recipe():
    assert load({"method": "sdpo"}) == recipe("sdpo")


def test_part_without_a_kind_changes_the_methods_own():
    loaded = load({"method": "exo", "objective": {"beta": 0.2}, "update": {"warmup_steps": 7}})
    own = recipe("exo", beta=0.2)
    assert loaded == own.replace(update=own.update.replace(warmup_steps=7))


def test_part_with_a_kind_stands_for_itself():
    assert load({"method": "exo", "update": {"kind": "rmsprop"}}).update == RMSprop()


def test_objective_of_another_module_is_found_by_its_kind():
    assert (
        load({"method": "exo", "objective": {"kind": "dpo", "beta": 0.3}}).objective
        == recipe("dpo", beta=0.3).objective
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "a recipe needs `method`"),
        ({"method": "epo"}, "no method 'epo'"),
        ({"method": "exo", "objective": {"kind": "exoo"}}, "Objective has no kind 'exoo'. Did you mean exo?"),
        ({"method": "exo", "objective": {"kind": "builtins:int"}}, "not a subclass of truenorth's Objective"),
        ({"method": "exo", "objective": {"kind": "nowhere:Loss"}}, "'nowhere:Loss' cannot be imported"),
        ({"method": "exo", "objective": {"beta": -1}}, "EXO's beta must lie in (0, inf), got -1"),
        ({"method": "exo", "update": {"warmup_step": 1}}, "Did you mean warmup_steps?"),
        ({"method": "exo", "references": {"initial": {"kind": "cache"}}}, "Did you mean cached?"),
        ({"method": "exo", "reference": {}}, "reference is not a setting of Recipe. Did you mean references?"),
    ],
)
def test_load_says_what_is_wrong(data, message):
    with pytest.raises(SettingsError) as caught:
        load(data)
    assert message in str(caught.value)


# override


def test_bare_key_sets_the_objectives_field():
    assert override(recipe("exo"), "beta", "0.3") == recipe("exo", beta=0.3)


def test_dotted_key_sets_another_parts_field():
    assert override(recipe("exo"), "update.learning_rate", "5e-7") == recipe("exo", learning_rate=5e-7)


def test_new_kind_of_update_keeps_what_all_updates_have():
    changed = override(recipe("exo", learning_rate=3e-6), "update.kind", "rmsprop").update
    assert changed == RMSprop(learning_rate=3e-6, decay="cosine")


def test_new_kind_of_reference():
    assert override(recipe("exo"), "references.initial.kind", "frozen").references == {"initial": Frozen()}


def test_whole_part_may_be_given_as_a_mapping():
    changed = override(recipe("exo"), "references.initial", "{kind: model, path: base}")
    assert changed.references == {"initial": OtherModel(path="base")}


def test_whole_update_may_be_given_as_a_mapping():
    changed = override(
        recipe("exo"), "update", '{kind: torch, optimizer: "torch.optim:SGD", arguments: {momentum: 0.9}}'
    )
    assert changed.update == TorchOptimizer(optimizer="torch.optim:SGD", arguments={"momentum": 0.9})


def test_none_is_nothing():
    assert override(recipe("exo"), "update.max_grad_norm", "none").update.max_grad_norm is None


def test_value_need_not_be_text():
    assert override(recipe("exo"), "update.betas", (0.8, 0.9)).update == recipe("exo").update.replace(betas=(0.8, 0.9))


def test_override_leaves_the_recipe_that_it_was_given():
    before = recipe("exo")
    override(before, "beta", "0.3")
    assert before == recipe("exo")


def test_override_keeps_the_real_types_of_parts():
    changed = override(recipe("exo"), "references.initial.path", "my-sft")
    assert changed.references == {"initial": Cached(path="my-sft")}
    assert isinstance(changed.update, AdamW)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("bta", "1", "exo has no setting bta. Did you mean beta?"),
        ("learning_rate", "1", "Did you mean update.learning_rate?"),
        ("update.learning_rte", "1", "Did you mean update.learning_rate?"),
        ("references.magnet.kind", "cached", "exo has no setting references.magnet.kind"),
        ("method", "dpo", "exo has no setting method"),
        ("kind", "dpo", "exo has no setting kind"),
        ("beta", "-1", "EXO's beta must lie in (0, inf), got -1"),
        ("beta", "nan", "EXO's beta must be a number in (0, inf), got 'nan'"),
        ("beta", "{", "'{' is no YAML value"),
        ("update.decay", "cosin", "AdamW's decay must be constant, linear or cosine, got 'cosin'"),
        ("references.initial.kind", "chached", "Did you mean cached?"),
        ("references", "{}", "EXO reads the reference"),
    ],
)
def test_override_says_what_is_wrong(key, value, message):
    with pytest.raises(SettingsError) as caught:
        override(recipe("exo"), key, value)
    assert message in str(caught.value)


# describe


def test_description_of_a_setting():
    rows = {row["name"]: row for row in describe("exo")["settings"]}
    assert rows["epsilon"] == {
        "name": "epsilon",
        "type": "number",
        "default": 1e-3,
        "range": "(0, 0.5)",
        "source": "ours",
        "description": "probability left to the rejected",
    }


def test_description_gives_the_updates_settings_as_the_recipe_has_them():
    rows = {row["name"]: (row["default"], row["source"]) for row in describe("exo")["settings"]}
    assert rows["update.betas"] == ([0.9, 0.95], "code")
    assert rows["update.epsilon"] == (1e-8, "ours")  # not in the recipe


def test_description_says_what_the_data_must_bring():
    assert describe("exo_rw")["needs"] == {
        "responses": [2, None],
        "reads": ["rewards"],
        "references": ["initial"],
        "columns": [],
    }


def test_users_own_method_is_described_with_what_there_is():
    described = describe(f"{__name__}:my_recipe")
    assert (described["paper"], described["settings"][0]["name"]) == ("", "push")


def test_describing_an_unknown_method_names_the_nearest():
    with pytest.raises(SettingsError, match=r"Did you mean simpo\?"):
        describe("simp")


def test_files_with_several_losses_are_described_class_by_class():
    assert describe("dpo_rw")["title"] == "DPO from K responses with rewards: the forward-KL twin of EXO"
    assert describe("dpo_rw")["paper"] == describe("exo")["paper"]
