"""Texts and distances: what per token, per byte and per answer mean."""

import math

import pytest

from truenorth.evaluate.forgetting import divergence, shares_of, texts_of
from truenorth.evaluate.intervals import bootstrap_ratio


def test_nats_per_byte_are_nats_per_token_times_tokens_per_byte() -> None:
    found = texts_of([3, 5], [12, 30], [-6.0, -15.0], None)
    assert found.per_token.model.value == -21 / 8
    assert found.per_byte.model.value == pytest.approx(found.per_token.model.value * 8 / 42)
    assert found.per_token.change is None


def test_the_change_is_the_difference_of_the_two_and_surer_than_either() -> None:
    ours = [-10.0 * i for i in range(1, 30)]
    theirs = [a + 1.0 for a in ours]
    found = texts_of([10] * 29, [40] * 29, ours, theirs).per_token
    assert found.reference is not None
    assert found.change is not None
    assert found.change.value == pytest.approx(found.model.value - found.reference.value)
    assert found.change.low == found.change.high == pytest.approx(-0.1)


def test_a_divergence_is_the_mean_log_ratio() -> None:
    ratio = math.log(0.5 / 0.25)
    found = divergence([math.log(0.5)] * 4, [math.log(0.25)] * 4, [1, 1, 2, 4], [True, True, False, True])
    assert found.per_answer.value == pytest.approx(ratio)
    assert found.per_token.value == pytest.approx(4 * ratio / 8)
    assert found.cut == 0.25


def test_shares_change_on_the_same_questions() -> None:
    found = shares_of([True, True, False, True], [True, False, False, False])
    assert found.change is not None
    assert (found.model.value, found.change.value) == (0.75, 0.5)


def test_a_ratio_of_sums_with_equal_weights_is_a_mean() -> None:
    found = bootstrap_ratio([1.0, 2.0, 6.0], [1.0, 1.0, 1.0], seed=0)
    assert found.value == 3
    assert found.low <= 3 <= found.high
    with pytest.raises(ValueError, match="above 0"):
        bootstrap_ratio([1.0], [0.0], seed=0)
