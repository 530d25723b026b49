"""Held-out pairs: what a tie counts, what calibration is, and how rows are grouped."""

import math

import numpy as np
import pytest

from truenorth.evaluate.reward_bench import RankedRow, against, calibration, margins_of, pairs_of, ranking

DRAW = np.random.default_rng(1)


def pair(*lengths: int, subset: str = "") -> RankedRow:
    return RankedRow(((0, 1),), lengths or (5, 5), subset)


def scores(*margins: float) -> list[list[float]]:
    return [[margin] for margin in margins]


def test_a_reference_against_itself_is_half_right_by_ties() -> None:
    found = ranking("log_ratio", [pair()] * 7, scores(*[0.0] * 7), beta=0.1)
    assert found is not None
    assert found.whole.accuracy.value == 0.5
    assert (found.whole.margin.value, found.whole.margin.low, found.whole.margin.high) == (0, 0, 0)
    assert found.calibration is not None
    assert found.calibration.error.value == 0  # at 1/2 it is right half of the time


def test_accuracy_and_margin_are_those_of_the_pairs() -> None:
    found = ranking("log_prob", [pair()] * 4, scores(2.0, -1.0, 0.0, 3.0), beta=None)
    assert found is not None
    assert found.whole.accuracy.value == (1 + 0 + 0.5 + 1) / 4
    assert found.whole.margin.value == 1.0
    assert found.calibration is None


def test_a_row_with_several_answers_counts_once() -> None:
    rows = [RankedRow(pairs_of(3, None), (5, 5, 5)), pair()]
    given = margins_of(rows, [np.array([3.0, 1.0, 2.0]), np.array([0.0, 1.0])])
    found = ranking("log_prob", rows, given, beta=None)
    assert found is not None
    assert found.whole.accuracy.value == pytest.approx((2 / 3 + 0) / 2)


def test_answers_of_equal_score_make_no_pair() -> None:
    assert pairs_of(3, (0.5, 0.5, 0.1)) == ((0, 2), (1, 2))
    assert ranking("log_prob", [RankedRow((), (1, 1))], [[]], beta=None) is None


def test_rows_are_grouped_by_subset_and_by_which_answer_is_longer() -> None:
    rows = [pair(10, 20, subset="chat"), pair(20, 10, subset="chat"), pair(10, 11, subset="safety")]
    found = ranking("log_prob", rows, scores(1.0, -1.0, 1.0), beta=None)
    assert found is not None
    assert {g.name: g.accuracy.value for g in found.by_subset} == {"chat": 0.5, "safety": 1.0}
    assert {g.name: g.accuracy.value for g in found.by_length} == {"shorter": 1.0, "alike": 1.0, "longer": 0.0}
    assert found.mean_over_subsets == 0.75
    assert found.whole.accuracy.value == pytest.approx(2 / 3)


def test_a_calibrated_judge_has_no_more_error_than_chance_gives() -> None:
    sure = DRAW.uniform(0.5, 1, 5000)
    p = np.where(DRAW.random(5000) < sure, sure, 1 - sure)  # of the better answer
    found = calibration(p, np.ones(5000), np.arange(5000))
    assert found.error.value < 0.03
    assert found.error.value < 2 * found.error_if_calibrated
    assert abs(found.overconfidence.value) < 0.02


def test_a_constant_overconfident_judge_has_its_known_error() -> None:
    p = np.array([0.9] * 60 + [0.1] * 40)  # 90 % sure, right in 60 %
    found = calibration(p, np.ones(100), np.arange(100))
    assert found.error.value == pytest.approx(0.3)
    assert found.overconfidence.value == pytest.approx(0.3)
    assert found.error.low < 0.3 < found.error.high
    assert found.bins == (pytest.approx((0.9, 0.6, 1.0)),)


def test_errors_of_bins_are_their_weighted_gaps() -> None:
    p = np.array([0.95, 0.95, 0.55, 0.45])
    found = calibration(p, np.array([1.0, 1.0, 0.5, 0.5]), np.arange(4))
    assert found.error.value == pytest.approx(2 / 3 * 0.05 + 1 / 3 * 0.05)


def test_probabilities_are_those_of_beta_times_the_margin() -> None:
    found = ranking("log_ratio", [pair()], scores(math.log(3) / 0.2), beta=0.2)
    assert found is not None
    assert found.calibration is not None
    assert found.calibration.bins[0][0] == pytest.approx(0.75)


def test_a_reference_is_ranked_by_the_same_pairs() -> None:
    rows, ours, theirs = [pair()] * 4, scores(1.0, 1.0, -1.0, 0.0), scores(1.0, -1.0, -1.0, -1.0)
    one = ranking("log_prob", rows, ours, beta=None)
    assert one is not None
    found = against(one, rows, ours, theirs)
    assert found.accuracy_of_reference is not None
    assert found.accuracy_gained is not None
    assert (found.whole.accuracy.value, found.accuracy_of_reference.value) == (0.625, 0.25)
    assert found.accuracy_gained.value == pytest.approx(0.375)
