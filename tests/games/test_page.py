"""The tables of docs/games.md are what the solvers do."""

import re
from pathlib import Path

import pytest

from truenorth.evaluate.game_tables import cells
from truenorth.games import GAMES, SOLVERS, game_of, play, solver_of

PAGE = (Path(__file__).parents[2] / "docs" / "games.md").read_text()


def rows(text: str) -> list[list[str]]:
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def section(title: str) -> list[list[str]]:
    return rows(PAGE.partition(f"## {title}")[2].partition("\n## ")[0])[2:]


@pytest.mark.parametrize("name", SOLVERS)
def test_the_table_of_solvers(name: str) -> None:
    (told,) = [row[1:] for row in section("Solvers") if row[0] == name]
    found = [cells(play(game_of(game), solver_of(name), steps=2000))[:3] for game in ("cyclic", "annotators")]
    assert told == [*found[0], *found[1]]


@pytest.mark.parametrize("row", section("How long a magnet should rest"), ids=lambda row: row[0])
def test_the_table_of_magnets(row: list[str]) -> None:
    game, alpha = game_of("annotators"), float(row[0])
    for told, inner_steps in zip(row[1:], (1, 3, 10, 30, 100), strict=True):
        played = play(game, solver_of("mpo", alpha=alpha, inner_steps=inner_steps), steps=2000)
        factor = (1 + (alpha / game.smoothness) ** 2) ** inner_steps
        assert told == f"{cells(played)[0]} ({factor:.3g})"


def test_every_game_and_solver_is_on_the_page() -> None:
    told = set(re.findall(r"`(\w+)`", PAGE))
    assert {*GAMES, *SOLVERS} <= told
