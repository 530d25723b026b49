import re
import xml.etree.ElementTree as ET

import matplotlib as mpl

from truenorth.evaluate.plots import MOST_POINTS, Chart, Line, svg, thin
from truenorth.train.evidence import Series

FALLING = Series(tuple(range(1, 61)), tuple(1 / step for step in range(1, 61)))
RISING = Series(FALLING.steps, FALLING.values[::-1])
CHART = Chart("Loss", "nats", (Line("loss", "plain", FALLING),))


def test_the_same_chart_gives_the_same_bytes() -> None:
    assert svg(CHART) == svg(CHART)


def test_drawing_leaves_matplotlibs_settings_alone() -> None:
    before = dict(mpl.rcParams)
    svg(CHART)
    assert dict(mpl.rcParams) == before


def test_a_drawing_is_one_well_formed_element() -> None:
    assert ET.fromstring(svg(CHART).replace("xlink:href", "href")).tag == "svg"


def test_colours_are_the_pages_variables() -> None:
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg(CHART)))
    assert colours <= {
        "none",
        *(f"var(--{name})" for name in ("plain", "muted", "grid", "card", "chosen", "rejected")),
    }


def test_ids_differ_between_charts() -> None:
    bounds = Series((1, 60), (0.8, 0.2)), Series((1, 60), (1.0, 0.4))  # a collection of lines
    lines = [Line("x", "plain", values, Series((1, 60), (0.9, 0.3)), *bounds) for values in (FALLING, RISING)]
    ids = [set(re.findall(r' id="([^"]+)"', svg(Chart("Loss", "nats", (line,))))) for line in lines]
    assert not ids[0] & ids[1]


def test_a_chart_is_said_in_words_too() -> None:
    assert 'role="img" aria-label="Loss, nats: loss from ' in svg(CHART)


def test_words_cannot_leave_the_label() -> None:
    chart = Chart('a"><script>', "", (Line("x", "plain", FALLING),))
    assert "<script>" not in svg(chart)
    assert 'aria-label="a&quot;>&lt;script>' in svg(chart)


def test_evaluations_are_drawn_with_their_intervals() -> None:
    held_out = Series((1, 60), (0.9, 0.3))
    bounds = Series((1, 60), (0.8, 0.2)), Series((1, 60), (1.0, 0.4))
    plain, bounded = (svg(Chart("x", "", (Line("x", "plain", FALLING, held_out, *b),))) for b in ((), bounds))
    assert len(bounded) > len(plain)


def test_the_legend_says_the_last_evaluation() -> None:
    assert Line("x", "plain", FALLING, Series((1, 60), (0.9, 0.3))).last == 0.3


def test_thinning_keeps_every_spike() -> None:
    values = [0.0] * 50_000
    values[31_417] = 9.0
    thinned = thin(Series(tuple(range(50_000)), tuple(values)))
    assert len(thinned) <= MOST_POINTS
    assert max(thinned.values) == 9.0


def test_thinning_keeps_the_order_of_steps() -> None:
    thinned = thin(Series(tuple(range(5000)), tuple(float(i % 7) for i in range(5000))))
    assert list(thinned.steps) == sorted(thinned.steps)


def test_a_logarithmic_axis_has_powers_of_ten_and_ends_where_it_is_told() -> None:
    logged = svg(Chart("Gap", "", (Line("gap", "plain", FALLING, exact=True),), log=(1e-8, 1.0)))
    ticks = re.findall(r">([^<>\s]+)</text>", logged)
    assert {"1e-8", "1e-6", "0.0001", "0.01", "1"} <= set(ticks)
