import random

import pytest

from truenorth.evaluate.intervals import bootstrap_mean, paired_difference, proportion


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_an_impossible_share_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="proportion needs"):
        proportion(successes, n)


def test_the_bootstrap_repeats_to_the_bit_with_its_seed() -> None:
    values = [0.1, 0.5, 0.9, 2.0]
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)


def test_the_bootstrap_agrees_with_the_normal_interval_for_many_values() -> None:
    noise = random.Random(0)
    values = [noise.gauss(1.0, 2.0) for _ in range(2000)]
    interval = bootstrap_mean(values, seed=0)
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * 2.0 / 2000**0.5, rel=0.1)


def test_the_bootstrap_of_equal_values_has_no_width() -> None:
    interval = bootstrap_mean([2.5] * 7, seed=0)
    assert (interval.low, interval.high) == (2.5, 2.5)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")]])
def test_a_mean_of_nothing_or_of_nan_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"bootstrap_mean|no values"):
        bootstrap_mean(values, seed=0)


def test_a_paired_difference_is_narrower_than_its_parts() -> None:
    noise = random.Random(0)
    before = [noise.gauss(0, 5) for _ in range(200)]
    after = [b + noise.gauss(0.5, 0.1) for b in before]
    paired, alone = paired_difference(before, after, seed=0), bootstrap_mean(after, seed=0)
    assert paired.high - paired.low < 0.1 * (alone.high - alone.low)


def test_pairs_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        paired_difference([1.0, 2.0], [1.0], seed=0)
