"""How self-play against rewards is compared: rates that are chosen, and numbers at equal KL."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"
sys.path.insert(0, str(CLAIMS))
try:
    from frontier import along
    from points_file import cells, merge
    from self_play_rewards_arms import ARMS, LONGER, TUNED_BY, family
    from self_play_rewards_tables import (
        HEADER,
        KEYS,
        NUMBERS,
        START,
        Found,
        Point,
        chosen,
        differences,
        entropies_at,
        read,
        rewards_at,
    )
finally:
    sys.path.remove(str(CLAIMS))

risen = st.lists(st.floats(0.01, 1), min_size=1, max_size=8)


def point(kl: float, reward: float, entropy: float = 10.0) -> Point:
    return {"kl": kl, "reward": reward, "entropy": entropy, "distinct": 1.0, "off": 0.0}


FOUND: Found = {
    (START, 0.0, 1): {0: point(0, 0, 18)},
    ("MPO", 0.1, TUNED_BY): {20: point(1, 0.6)},  # worth 0.35
    ("MPO", 0.2, TUNED_BY): {10: point(1, 0.7), 20: point(4, 0.9)},  # 0.45 and -0.1
    ("MPO", 0.2, 1): {40: point(1, 0.8, 14)},
    ("MPO", 0.2, 2): {40: point(0.4, 0.3, 16)},
    ("MPO", 0.1, 3): {40: point(0.5, 0.9)},  # at another rate
    ("online DPO", 0.1, TUNED_BY): {20: point(1, 0.4)},
    ("online DPO", 0.1, 1): {40: point(2, 0.8, 12)},
    ("online DPO", 0.1, 2): {40: point(2, 0.6, 12)},
}


def test_a_rate_is_chosen_by_its_best_point_less_the_price_of_its_kl() -> None:
    assert chosen(FOUND) == {"MPO": 0.2, "online DPO": 0.1}


def test_a_seed_that_never_went_so_far_has_no_reward_there_nor_has_another_rate() -> None:
    assert rewards_at(FOUND, "MPO", 0.5) == {1: pytest.approx(0.4)}  # half start, half its only look
    assert rewards_at(FOUND, "online DPO", 0.5) == {1: pytest.approx(0.2), 2: pytest.approx(0.15)}


def test_methods_are_compared_seed_by_seed() -> None:
    assert differences(FOUND, "online DPO")[2].split("|")[2].strip() == "+0.200 (1 seed)"


def test_entropy_at_a_kl_lies_between_those_of_the_looks_around_it() -> None:
    assert entropies_at(FOUND, "MPO", 0.5) == {1: pytest.approx(16)}


@given(risen)
def test_along_its_way_a_run_is_where_it_was_seen(steps: list[float]) -> None:
    ways = [sum(steps[:i]) for i in range(len(steps) + 1)]
    places = [(kl, kl * kl) for kl in ways]
    for kl, height in places:
        assert along(places, kl) == pytest.approx(height)


def test_a_kl_that_a_run_passed_twice_is_that_of_the_first_time() -> None:
    assert along([(0, 0), (2, 2), (1, 7), (3, 9)], 1.5) == pytest.approx(1.5)


def test_a_kl_that_no_look_passed_is_refused() -> None:
    with pytest.raises(ValueError, match="never was at a KL of 3"):
        along([(0, 0), (2, 2)], 3)


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    lines = [
        [arm, f"{rate:g}", seed, step, *cells(its, NUMBERS)]
        for (arm, rate, seed), points in FOUND.items()
        for step, its in points.items()
    ]
    merge(tmp_path / "a.csv", HEADER, lines, keys=len(KEYS))
    assert read(tmp_path / "a.csv") == FOUND


def test_every_run_has_a_name_of_its_own_and_a_rate_to_take() -> None:
    arms = [*ARMS, *LONGER]
    assert len({arm.name for arm in arms}) == len(arms)
    assert {family(arm.name) for arm in arms} <= {arm.name for arm in ARMS}
