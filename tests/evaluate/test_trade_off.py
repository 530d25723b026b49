"""Which merges are beaten by none, and the page that shows it."""

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from truenorth.evaluate.trade_off import Point, TradeOff, draw
from truenorth.evaluate.trade_off_page import About, picture, write_page

ABOUT = About("ExPO", "Zheng et al. 2024, arXiv:2404.16792", "theta = <x>", [("base", "my-sft")], "truenorth merge")


def found(**places: tuple[float, float]) -> TradeOff:
    """Points by name with (ability, reward) of two rows each, around these means."""
    return TradeOff("alpha", [
        Point(name.replace("_", "="), float(name[1:]) if name[0] == "_" else None,
              {"reward": [reward - 1, reward + 1], "ability": [ability - 1, ability + 1]})
        for name, (ability, reward) in places.items()
    ])  # fmt: skip


EXAMPLE = found(base=(0, 0), model=(-5, 5), _1=(-4, 5), _2=(-3, 4), _3=(-4, 3), _4=(0, 0), _5=(-3, 3))


def test_the_frontier_is_what_no_other_merge_equals_or_beats() -> None:
    assert [point.value for point in EXAMPLE.frontier()] == [1.0, 2.0, 4.0]


def test_equal_merges_are_both_on_the_frontier() -> None:
    assert len(found(base=(0, 0), _1=(1, 1), _2=(1, 1)).frontier()) == 2


def test_with_one_measure_the_frontier_is_the_best() -> None:
    points = [Point(p.name, p.value, {"reward": p.rows["reward"]}) for p in EXAMPLE.points]
    assert [point.value for point in TradeOff("alpha", points).frontier()] == [1.0]


def test_a_change_is_measured_on_the_same_rows() -> None:
    first, second = Point("a", None, {"ability": [-9.0, -1.0]}), Point("b", 1, {"ability": [-8.5, -0.5]})
    change = second.change(first, "ability")
    assert (change.low, change.value, change.high) == (0.5, 0.5, 0.5)
    assert second.measured["ability"].high - second.measured["ability"].low > 1


def test_the_table_fits_a_log_and_cuts_no_number() -> None:
    console = Console(width=96, record=True, file=io.StringIO())
    console.print(draw(EXAMPLE))
    text = console.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 96


def test_the_picture_is_one_well_formed_element_with_every_merge_in_words() -> None:
    drawn = picture(EXAMPLE)
    assert ET.fromstring(drawn.replace("xlink:href", "href")).tag == "svg"
    label = re.search('aria-label="([^"]*)"', drawn)
    assert label is not None
    assert all(point.name in label[1] for point in EXAMPLE.points)


@pytest.mark.parametrize("measures", [("reward", "ability"), ("reward",), ("ability",)])
def test_the_page_loads_nothing_and_shows_every_point(tmp_path: Path, measures: tuple[str, ...]) -> None:
    points = [Point(p.name, p.value, {m: p.rows[m] for m in measures}) for p in EXAMPLE.points]
    page = write_page(TradeOff("alpha", points), ABOUT, tmp_path / "sweep.html").read_text()
    assert "theta = &lt;x&gt;" in page
    assert all(point.name in page for point in points)
    assert not re.findall(r'(?:src|href)="(?!#|https://arxiv)', page)
