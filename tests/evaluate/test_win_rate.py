"""Win rates: what is symmetric, what a tie counts, and what length control leaves alone."""

import math

import numpy as np
import pytest

from truenorth.evaluate.length_control import controlled
from truenorth.evaluate.win_rate import Match, WinRate, match_of, win_of, win_rate
from truenorth.judge import Failed, Rewards, Wins

DRAW = np.random.default_rng(3)


def match(win: float, ours: int = 10, theirs: int = 10, *, place: int = 0) -> Match:
    return Match(f"prompt {place}", ("o" * ours,), ("t" * theirs,), ((win,),))


def matches(count: int = 80) -> list[Match]:
    """Longer answers win more often, and ours are longer."""
    found = list[Match]()
    for place in range(count):
        ours, theirs = int(DRAW.integers(5, 60)), int(DRAW.integers(5, 40))
        odds = 0.05 * (ours - theirs) - 0.2
        found.append(match(float(DRAW.random() < 1 / (1 + math.exp(-odds))), ours, theirs, place=place))
    return found


def swapped(one: Match) -> Match:
    wins = tuple(tuple(1 - one.wins[i][j] for i in range(len(one.ours))) for j in range(len(one.theirs)))
    return Match(one.prompt, one.theirs, one.ours, wins)


def rates(found: WinRate) -> list[float]:
    return [found.raw.value, found.controlled.value]


def test_a_reward_judge_gives_whole_wins_and_halves_of_ties() -> None:
    given = [Rewards((2.0, 1.0)), Rewards((1.0, 1.0)), Rewards((0.0, 1.0))]
    assert [win_of(verdict) for verdict in given] == [1, 0.5, 0]


def test_a_pairwise_judge_gives_its_probability() -> None:
    assert win_of(Wins(((0.5, 0.75), (0.25, 0.5)))) == 0.75


def test_every_answer_meets_every_other() -> None:
    wins = [Rewards((float(a), float(b))) for a in (0, 2) for b in (1, 2, 3)]
    found = match_of("?", ["x", "y"], ["1", "2", "3"], wins)
    assert isinstance(found, Match)
    assert found.wins == ((0, 0, 0), (1, 0.5, 0))
    assert found.win == 0.25


def test_a_prompt_with_a_pair_that_failed_is_left_out() -> None:
    assert match_of("?", ["x", "y"], ["1"], [Rewards((0.0, 1.0)), Failed("no")]) == Failed("no")


def test_identical_answers_are_exactly_even() -> None:
    found = win_rate([match(0.5, place=place) for place in range(30)])
    assert (found.raw.value, found.raw.low, found.raw.high, found.controlled.value) == (0.5, 0.5, 0.5, 0.5)
    assert (found.won, found.even, found.lost) == (0, 30, 0)


def test_swapping_the_sides_gives_one_minus_the_rate() -> None:
    given = matches()
    one, other = win_rate(given), win_rate([swapped(match) for match in given])
    assert rates(one) == pytest.approx([1 - rate for rate in rates(other)], abs=1e-9)
    assert [bucket.count for bucket in one.buckets] == [bucket.count for bucket in reversed(other.buckets)]


def test_intervals_hold_what_they_are_of() -> None:
    found = win_rate(matches())
    assert found.raw.low < found.raw.value < found.raw.high
    assert found.controlled.low < found.controlled.value < found.controlled.high


def test_at_equal_lengths_the_controlled_rate_is_the_raw_one() -> None:
    found = win_rate([match(float(place % 3 == 0), place=place) for place in range(40)])
    assert found.controlled.value == pytest.approx(found.raw.value, abs=1e-12)


def test_a_judge_of_length_alone_gives_even_rates_under_control() -> None:
    lengths = [(30 + place, 10 + 2 * place) for place in range(40)]  # ours win until place 20
    found = win_rate([match(0.5 + 0.5 * np.sign(a - b), a, b, place=i) for i, (a, b) in enumerate(lengths)])
    assert found.raw.value == pytest.approx(0.5, abs=0.02)
    more = win_rate([match(float(a > b), a, b, place=i) for i, (a, b) in enumerate(lengths[:26] * 2)])
    assert more.raw.value > 0.75
    assert abs(more.controlled.value - 0.5) < 0.6 * (more.raw.value - 0.5)


def test_a_large_sample_recovers_the_intercept() -> None:
    draw = np.random.default_rng(0)
    d = draw.normal(20, 30, 20_000)
    scale = np.sqrt(np.mean(d**2))
    win = draw.random(len(d)) < 1 / (1 + np.exp(-(-0.4 + 1.5 * np.tanh(d / scale))))
    found = controlled(win[:4000], d[:4000], np.arange(4000), seed=0)
    assert found.low < 1 / (1 + math.exp(0.4)) < found.high
    assert np.mean(win[:4000]) > found.high


def test_several_answers_of_a_prompt_are_one_prompt_to_the_interval() -> None:
    """Copies of a prompt's answers say nothing new: the interval must not shrink."""
    one = matches(40)
    copies = [Match(m.prompt, m.ours * 3, m.theirs, m.wins * 3) for m in one]
    few, many = win_rate(one), win_rate(copies)
    assert many.raw == few.raw
    assert many.controlled.value == pytest.approx(few.controlled.value, abs=1e-9)
    assert many.controlled.high == pytest.approx(few.controlled.high, abs=1e-9)


def test_a_rate_of_one_has_an_interval() -> None:
    found = win_rate([match(1.0, place=place) for place in range(10)])
    assert found.raw.value == 1
    assert found.raw.low == pytest.approx(0.722, abs=1e-3)  # Wilson's of 10 of 10
    assert found.controlled.value == 1
