"""Several solvers on one game, and what is said of them as JSON."""

import json

import numpy as np
import pytest

from truenorth.games import Game, game_of, play, solver_of
from truenorth.games.tournament import MOST_ACTIONS, tournament

CYCLIC = game_of("cyclic")


def test_every_solver_plays_as_it_would_alone() -> None:
    solvers = [solver_of("md"), solver_of("mpo")]
    found = tournament(CYCLIC, solvers, steps=200)
    for played, solver in zip(found.plays, solvers, strict=True):
        np.testing.assert_array_equal(played.last_curve, play(CYCLIC, solver, steps=200).last_curve)


def test_one_solver_stands_beside_its_game_in_json() -> None:
    found = tournament(CYCLIC, [solver_of("mpo")], steps=2000)
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["exploitability_last"] < 1e-8 < said["exploitability_average"]
    assert said["exploitability_start"] == pytest.approx(CYCLIC.exploitability(np.array([0.2, 0.5, 0.3])))
    assert said["settings"] == {"alpha": 0.1, "eta": None, "inner_steps": 100}
    assert (said["steps"], said["updates"], said["magnets"]) == (2000, 2000, 20)
    assert said["steps_to_1e-4"] < said["steps_to_1e-8"] <= 2000
    assert said["equilibrium_is_unique"]
    assert said["policy"] == pytest.approx([4 / 11, 3 / 11, 4 / 11], abs=1e-6)
    assert 0 <= said["kl_to_equilibrium"] < 1e-12


def test_several_solvers_stand_in_a_list() -> None:
    said = tournament(CYCLIC, [solver_of("egpo"), solver_of("md")], steps=11).to_dict()
    assert [one["solver"] for one in said["solvers"]] == ["egpo", "md"]
    assert [(one["steps"], one["updates"]) for one in said["solvers"]] == [(10, 5), (11, 11)]


def test_those_that_solved_the_game_are_the_ones_that_stay_near_an_equilibrium() -> None:
    found = tournament(CYCLIC, [solver_of(name) for name in ("md", "mmd", "mpo")], steps=2000)
    assert [played.solver.name for played in found.solved] == ["mpo"]


def test_no_distance_is_given_to_one_equilibrium_of_several() -> None:
    twins = Game(CYCLIC.wins[np.ix_([0, 1, 2, 2], [0, 1, 2, 2])])
    found = tournament(twins, [solver_of("mpo")], steps=100)
    assert found.unique is False
    assert found.to_dict()["kl_to_equilibrium"] is None


def test_of_a_large_game_one_equilibrium_is_found_and_no_more_is_claimed() -> None:
    large = game_of("random", actions=MOST_ACTIONS + 1)
    found = tournament(large, [solver_of("md")], steps=1)
    assert found.unique is None
    assert large.exploitability(found.equilibrium) < 1e-9
