"""What real answers are measured with: nothing is won by length alone, and only the order of rewards counts."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"
sys.path.insert(0, str(CLAIMS))
try:
    from real_measures import HeldOut, interval, measures
finally:
    sys.path.remove(str(CLAIMS))

seeds = st.integers(0, 10_000)


def rows(seed: int) -> list[HeldOut]:
    """Answers whose length says something of their score."""
    draw = np.random.default_rng(seed)
    made = list[HeldOut]()
    for place in range(12):
        lengths = draw.permutation(np.arange(20.0, 26.0))
        made.append(HeldOut(str(place // 2), lengths / 1.5 + draw.normal(size=6), lengths))
    return made


@given(seeds, st.sampled_from([1.0, -1.0]))
def test_length_alone_has_half_at_balanced_lengths_and_no_correlation_given_length(seed: int, sign: float) -> None:
    answers = rows(seed)
    found = measures(answers, [[(sign * row.lengths).tolist() for row in answers]])
    assert found["accuracy, lengths balanced"].value == pytest.approx(0.5)
    assert found["rank correlation, given length"].value == pytest.approx(0, abs=1e-9)
    assert abs(found["accuracy"].value - 0.5) > 0.1  # which is why the others are there


def test_the_scores_themselves_have_all() -> None:
    answers = rows(0)
    for one in measures(answers, [[row.scores.tolist() for row in answers]]).values():
        assert interval(one) == pytest.approx((1, 1, 1))


@given(seeds)
def test_only_the_order_of_rewards_within_a_prompt_counts(seed: int) -> None:
    answers, draw = rows(seed), np.random.default_rng(seed)
    rewards = [draw.normal(size=6) for _ in answers]
    moved = [np.exp(reward) + 100 * place for place, reward in enumerate(rewards)]
    plain, other = (measures(answers, [[r.tolist() for r in given]]) for given in (rewards, moved))
    assert {name: one.value for name, one in plain.items()} == {name: one.value for name, one in other.items()}


def test_a_seed_counts_as_much_as_another_and_none_differs_from_itself() -> None:
    answers = rows(3)
    good, bad = [row.scores.tolist() for row in answers], [(-row.scores).tolist() for row in answers]
    both = measures(answers, [good, bad])["accuracy"]
    assert both.value == pytest.approx(0.5)
    value, low, high = interval(both)
    assert low == pytest.approx(0)  # either seed may be drawn twice
    assert high == pytest.approx(1)
    alone = measures(answers, [good])["accuracy"]
    assert interval(alone, alone) == (0, 0, 0)
    assert value == pytest.approx(0.5)
