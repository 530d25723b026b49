"""`truenorth games` as text."""

import io

import numpy as np
from rich.console import Console

from truenorth.evaluate.game_tables import cells, draw, headline, meaning, settings, title
from truenorth.games import Game, game_of, play, solver_of
from truenorth.games.tournament import Tournament, tournament

CYCLIC = game_of("cyclic")
TWO = tournament(CYCLIC, [solver_of("md"), solver_of("mpo")], steps=2000)
ONE = tournament(CYCLIC, [solver_of("mpo")], steps=2000)


def text(found: Tournament) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(draw(found))
    return console.export_text()


def test_the_headline_names_those_that_solved_the_game() -> None:
    assert headline(TWO).endswith("an exploitability below 1e-4 in the last policy of mpo")
    unsolved = tournament(CYCLIC, [solver_of("md"), solver_of("mmd")], steps=20)
    assert "no solver's last policy" in headline(unsolved)


def test_the_headline_of_one_solver_has_its_figures() -> None:
    assert headline(ONE) == ("mpo on cyclic, 3 actions, 2,000 steps: exploitability 5.3e-9, of its average 0.00258")


def test_a_row_for_each_solver_and_a_policy_only_for_one() -> None:
    assert "Mirror descent against itself" in text(TWO)
    assert "equilibrium" not in text(TWO).partition("Exploitability")[0]
    assert "0.2727" in text(ONE)


def test_cells_by_hand() -> None:
    assert cells(ONE.plays[0]) == ("5.3e-9", "0.00258", "825", "20")
    assert cells(TWO.plays[0])[2:] == ("–", "–")


def test_settings_are_as_the_command_line_takes_them() -> None:
    assert settings(ONE.plays[0]) == "alpha=0.1 inner_steps=100"
    assert settings(play(CYCLIC, solver_of("mpo", eta=0.2), steps=1)) == "alpha=0.1 eta=0.2 inner_steps=100"


def test_what_a_solver_is_comes_from_its_file() -> None:
    assert title(ONE.plays[0]) == "Magnetic Preference Optimization"


def test_it_is_said_whether_the_equilibrium_is_the_only_one() -> None:
    twins = Game(CYCLIC.wins[np.ix_([0, 1, 2, 2], [0, 1, 2, 2])])
    assert "It has one equilibrium." in meaning(ONE)
    several = tournament(twins, [solver_of("mpo")], steps=1)
    assert "It has several equilibria" in meaning(several)
    assert "an equilibrium" in text(several)
