"""Wilson's interval of a share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truenorth.proportions import wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_values(successes: int, trials: int, low: float, high: float) -> None:
    """Newcombe 1998, Table I, method 3."""
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_its_share_and_stays_between_zero_and_one(case: tuple[int, int]) -> None:
    low, high = wilson(*case)
    assert 0.0 <= low <= case[0] / case[1] + 1e-12
    assert case[0] / case[1] - 1e-12 <= high <= 1.0


def test_success_and_failure_mirror_each_other() -> None:
    (low, high), (other_low, other_high) = wilson(30, 100), wilson(70, 100)
    assert (low, high) == pytest.approx((1 - other_high, 1 - other_low))


def test_without_trials_all_is_possible() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
