"""A tournament as a page and as one picture."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from truenorth.evaluate.game_pages import FLOOR, charts, page, picture, write
from truenorth.evaluate.plots import svg
from truenorth.games import Game, game_of, solver_of
from truenorth.games.tournament import Tournament, tournament


@pytest.fixture(scope="module")
def found() -> Tournament:
    return tournament(game_of("cyclic"), [solver_of(name) for name in ("md", "mmd", "mpo", "egpo")], steps=300)


def test_every_chart_has_the_same_axis_which_holds_every_value(found: Tournament) -> None:
    drawn = charts(found)
    assert len({chart.log for chart in drawn}) == 1
    assert drawn[0].log is not None
    low, high = drawn[0].log
    assert all(low <= value <= high for chart in drawn for line in chart.lines for value in line.train.values)


def test_a_policy_that_nothing_beats_lies_on_the_axis(found: Tournament) -> None:
    even = tournament(Game(np.full((2, 2), 0.5)), [solver_of("md")], steps=3)
    (chart,) = charts(even)
    assert chart.lines[0].train.values == (FLOOR,) * 4
    assert found.plays[0].last_curve.min() > 0
    assert "<path" in svg(chart)


def test_evaluations_are_on_the_axis_of_steps(found: Tournament) -> None:
    steps = {chart.title: chart.lines[0].train.steps for chart in charts(found)}
    assert steps["mpo"] == tuple(range(301))
    assert steps["egpo"] == tuple(range(0, 301, 2))


def test_the_picture_is_one_file_that_needs_nothing_else(found: Tournament) -> None:
    drawn = picture(found)
    root = ET.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall("{http://www.w3.org/2000/svg}svg")) == 4
    assert "http" not in drawn.replace("http://www.w3.org/", "")
    used = {part.partition(")")[0] for part in drawn.split("var(")[1:]}
    assert all(f"{name}: #" in drawn for name in used)


def test_the_page_shows_game_solvers_and_curves_and_loads_nothing(found: Tournament) -> None:
    text = page(found)
    assert text.count("<figure>") == 4
    assert "0.2727" in text
    assert "src=" not in text
    assert page(found) == text


def test_names_of_actions_are_shown_and_never_obeyed() -> None:
    game = Game(np.array([[0.5, 0.9], [0.1, 0.5]]), actions=("<script>", "b"))
    assert "<script>" not in page(tournament(game, [solver_of("md")], steps=1))


def test_the_ending_decides(found: Tournament, tmp_path: Path) -> None:
    for name, begins in (("a.html", "<!doctype html>"), ("a.svg", "<svg")):
        write(found, tmp_path / name)
        assert (tmp_path / name).read_text().startswith(begins)
