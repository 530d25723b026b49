"""FedDA's recipe, and federated rounds of other methods: what goes with clients, and what is refused."""

import pytest

from truenorth.clients import Clients
from truenorth.errors import SettingsError
from truenorth.methods import describe, dump, load, override, recipe
from truenorth.methods.online_merging import OnDARE


def test_fedda_is_dpo_with_clients():
    ours, dpo = recipe("fedda", beta=0.3), recipe("dpo", beta=0.3)
    assert (ours.objective, ours.references) == (dpo.objective, dpo.references)
    assert ours.clients == Clients()
    assert dpo.clients is None


@pytest.mark.parametrize("name", ["exo", "kto", "simpo", "reward", "mrpo"])
def test_any_method_on_rows_of_a_file_takes_clients_by_one_setting(name):
    ours = override(recipe(name), "clients.column", "user")
    assert ours == recipe(name).replace(clients=Clients(column="user"))
    assert load(dump(ours)) == ours
    assert override(ours, "clients.local_steps", "3").clients == Clients(column="user", local_steps=3)


def test_a_file_may_change_some_settings_of_the_clients():
    assert load({"method": "fedda", "clients": {"count": 4}}).clients == Clients(count=4)
    assert load({"method": "ipo", "clients": {"column": "user"}}).clients == Clients(column="user")


def test_the_settings_of_clients_are_shown():
    names = {row["name"] for row in describe("fedda")["settings"]}
    assert {"beta", "clients.local_steps", "clients.participation", "update.learning_rate"} <= names


@pytest.mark.parametrize("name", ["mpo", "online_dpo"])
def test_methods_that_play_rounds_take_no_clients(name):
    with pytest.raises(SettingsError, match=rf"{name} has `clients` and `schedule`, .*Take one of them out"):
        override(recipe(name), "clients.count", "3")


def test_merging_updates_take_no_clients_unless_they_merge_nothing():
    with pytest.raises(SettingsError, match=r"ondare has `clients` and `update\.merging`, .*Take one of them out"):
        override(recipe("ondare"), "clients.count", "3")
    idle = recipe("dpo").update.replace(merging=OnDARE(alpha=0, keep=1))
    assert recipe("fedda").replace(update=idle).clients == Clients()
