"""A recipe: references that fit its objective, and changes that are validated."""

import pytest
from pydantic import ValidationError

from truenorth import methods
from truenorth.errors import SettingsError
from truenorth.methods.dpo import DPO
from truenorth.methods.mrpo import MRPO
from truenorth.methods.simpo import SimPO
from truenorth.models.references import Cached, Frozen, Moving, OtherModel
from truenorth.names import check_key, check_recipe
from truenorth.optim.update import UPDATES, AdamW, RMSprop
from truenorth.recipe import Recipe
from truenorth.schedule import Rounds


def recipe(**parts):
    return Recipe(**{"method": "dpo", "objective": DPO(), "references": {"initial": Cached()}} | parts)


def test_recipe_without_a_reference_that_the_objective_reads_is_refused():
    with pytest.raises(SettingsError, match=r"DPO reads the reference\(s\) initial, and the recipe gives none"):
        recipe(references={})


def test_recipe_with_a_reference_that_nothing_reads_is_refused():
    with pytest.raises(SettingsError, match=r"SimPO does not read the reference\(s\) initial: .* for nothing"):
        recipe(objective=SimPO())


def test_recipe_of_an_objective_that_mixes_references_may_give_more_than_it_names():
    given = {name: OtherModel(path=name) for name in ("initial", "second", "third")}
    assert recipe(objective=MRPO(), references=given).references == given
    with pytest.raises(
        SettingsError, match=r"MRPO reads the reference\(s\) second, and the recipe gives initial, third"
    ):
        recipe(objective=MRPO(), references={name: given[name] for name in ("initial", "third")})


def test_misspelt_part_names_the_nearest():
    with pytest.raises(SettingsError, match=r"objectiv is not a setting of Recipe\. Did you mean objective\?"):
        recipe(objectiv=DPO())


def test_parts_may_be_given_as_they_are_saved():
    given = recipe(references={"initial": {"kind": "frozen"}}, update={"kind": "rmsprop", "alpha": 0.9})
    assert given == recipe(references={"initial": Frozen()}, update=RMSprop(alpha=0.9))


def test_dump_keeps_the_fields_of_the_parts_real_classes():
    dumped = recipe(objective=DPO(beta=0.7), update=RMSprop(alpha=0.9)).model_dump()
    assert dumped["objective"]["beta"] == 0.7
    assert dumped["update"]["alpha"] == 0.9
    assert dumped["references"] == {"initial": {"kind": "cached", "path": None}}


def test_update_is_adamw_unless_told():
    assert recipe().update == AdamW()


def test_replace_changes_one_part():
    assert recipe().replace(objective=DPO(beta=0.7)) == recipe(objective=DPO(beta=0.7))


def test_replace_validates_the_whole():
    with pytest.raises(SettingsError, match="does not read"):
        recipe().replace(objective=SimPO())


def test_recipe_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        recipe().method = "exo"


@pytest.mark.parametrize("part", [{"objective": AdamW()}, {"update": DPO()}, {"references": {"initial": DPO()}}])
def test_part_of_the_wrong_sort_is_refused(part):
    with pytest.raises(SettingsError, match=r"must be (Objective|Update|Reference)'s settings.*, got (AdamW|DPO)"):
        recipe(**part)


def test_wins_without_rounds_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"MPO reads who wins against whom.*`schedule: \{rounds: 3\}`"):
        methods.recipe("mpo").replace(schedule=None)


def test_a_reference_by_rounds_without_rounds_is_refused() -> None:
    with pytest.raises(SettingsError, match="the reference initial moves by rounds, and the recipe has no `schedule`"):
        methods.recipe("dpo").replace(references={"initial": Moving(unit="rounds")})


def test_whole_distributions_of_a_cached_reference_are_refused() -> None:
    made = methods.recipe("mpo")
    with pytest.raises(SettingsError, match="the reference round is cached"):
        made.replace(references={"magnet": made.references["magnet"], "round": Cached()})


def test_any_method_of_comparisons_plays_rounds_and_one_of_labels_does_not() -> None:
    played = methods.recipe("exo_rw").replace(references={"initial": Frozen()}, schedule=Rounds(k=4))
    assert played.schedule == Rounds(k=4)
    with pytest.raises(SettingsError, match="KTO takes 1 answer to a prompt, and a round has 2"):
        methods.recipe("kto").replace(references={"initial": Frozen()}, schedule=Rounds())


@pytest.mark.parametrize("kind", [kind for kind in UPDATES if kind != "torch"])
def test_names_of_every_update_are_known_where_its_run_is_read_again(kind: str) -> None:
    dumped = recipe(update={"kind": kind}).model_dump(mode="json")
    check_recipe({"update": dumped["update"]})
    for name in dumped["update"]:
        check_key(f"update.{name}", "dpo")
