"""Shares with a given mean, or none: it holds, nothing gets worse, and what is alike stays alike."""

from collections.abc import Sequence

import numpy as np
import pytest

from truenorth.ascent import ascend, climb, project, search

GAINS = (3.0, 1.0, -2.0)


def linear(shares: Sequence[float]) -> float:
    return sum(gain * share for gain, share in zip(GAINS, shares, strict=True))


def bowl(shares: Sequence[float]) -> tuple[float, list[float]]:
    """Greatest at (0.4, 0.2, 0.0), whose mean is 0.2."""
    away = [share - best for share, best in zip(shares, (0.4, 0.2, 0.0), strict=True)]
    return -sum(a * a for a in away), [-2 * a for a in away]


@pytest.mark.parametrize("mean", [0.05, 0.2, 0.5, 0.9])
def test_projected_shares_are_shares_with_the_mean(mean: float) -> None:
    for seed in range(20):
        found = project(np.random.default_rng(seed).normal(size=5).tolist(), mean)
        assert sum(found) / 5 == pytest.approx(mean, abs=1e-14)
        assert all(0 <= share <= 1 for share in found)


def test_shares_that_have_the_mean_already_stay() -> None:
    assert project([0.6, 0.0, 0.0], 0.2) == pytest.approx([0.6, 0.0, 0.0], abs=1e-14)


def test_no_shares_with_the_mean_are_nearer_than_the_projected_ones() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=3)
    found = np.array(project(wanted.tolist(), 0.3))
    others = rng.dirichlet(np.ones(3), 20_000) * 0.9  # mean 0.3
    others = others[(others <= 1).all(1)]
    assert ((others - wanted) ** 2).sum(1).min() >= ((found - wanted) ** 2).sum()


def test_climbing_finds_the_top_of_a_bowl() -> None:
    found = climb(bowl, 0.2, 3, tries=60)
    assert found.shares == pytest.approx((0.4, 0.2, 0.0), abs=2e-3)
    assert found.value > found.at_start


def test_climbing_a_slope_ends_in_its_corner() -> None:
    found = climb(lambda shares: (linear(shares), GAINS), 0.2, 3, tries=60)
    assert found.shares == pytest.approx((0.6, 0.0, 0.0), abs=1e-9)


@pytest.mark.parametrize("start", [(1.0, 1.0, 1.0), (0.0, 0.0, 1.0), (0.5, 0.1, 0.3)])
def test_without_a_mean_the_top_is_found_from_anywhere_in_the_box(start: tuple[float, ...]) -> None:
    def slope(shares: Sequence[float]) -> tuple[float, Sequence[float]]:
        return linear(shares), GAINS

    assert ascend(bowl, start, None, tries=60).shares == pytest.approx((0.4, 0.2, 0.0), abs=2e-3)
    assert ascend(slope, start, None, tries=60).shares == pytest.approx((1.0, 1.0, 0.0), abs=1e-9)


def test_a_slope_that_leads_out_of_the_box_does_not_shorten_the_other_steps() -> None:
    def look(shares: Sequence[float]) -> tuple[float, list[float]]:
        return 1e4 * shares[0] - (shares[1] - 0.3) ** 2, [1e4, 0.6 - 2 * shares[1]]

    assert ascend(look, (1.0, 1.0), None, tries=60).shares == pytest.approx((1.0, 0.3), abs=2e-3)


def test_searching_a_slope_ends_in_its_corner_too() -> None:
    assert search(linear, 0.2, 3, tries=200).shares == pytest.approx((0.6, 0.0, 0.0), abs=3e-3)


def test_equal_gains_leave_equal_shares() -> None:
    assert climb(lambda shares: (sum(shares), [1.0] * 4), 0.3, 4, tries=60).shares == (0.3,) * 4
    assert search(sum, 0.3, 4, tries=60).shares == (0.3,) * 4


@pytest.mark.parametrize("tries", [1, 2, 3, 7, 30])
def test_what_is_found_is_never_worse_than_equal_shares_and_has_their_mean(tries: int) -> None:
    def rough(shares: Sequence[float]) -> float:
        return float(np.sin(40 * np.array(shares) @ [1.0, 2.0, 3.0]))

    for found in (
        search(rough, 0.4, 3, tries=tries),
        climb(lambda shares: (rough(shares), [1.0, -1.0, 0.5]), 0.4, 3, tries=tries),
    ):
        assert found.value == rough(found.shares) >= found.at_start == rough([0.4] * 3)
        assert sum(found.shares) / 3 == pytest.approx(0.4, abs=1e-12)
        assert found.tried <= tries
    free = ascend(lambda shares: (rough(shares), [1.0, -1.0, 0.5]), [0.4] * 3, None, tries=tries)
    assert free.value == rough(free.shares) >= free.at_start == rough([0.4] * 3)
    assert all(0 <= share <= 1 for share in free.shares)
