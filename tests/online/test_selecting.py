"""Which pairs of a round are learnt from: by what the policy answers itself, and by what an estimator would learn."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from truenorth.errors import DataError
from truenorth.judge import Rewards
from truenorth.online import pairs
from truenorth.online.pairs import Pair
from truenorth.online.round_file import RoundRow
from truenorth.online.selecting import (
    Chooser,
    drawn_by_gain,
    halves,
    information_gain,
    informative,
    majority,
)
from truenorth.processes import ALONE
from truenorth.selection import BeatsOwn, Informative

ALL = Informative("judge", runs=3, estimated=1.0, kept=1.0, exponent=1.0)


def row(place: int, *rewards: float, given: int | None = None) -> RoundRow:
    texts = tuple(f"{place} {i}" for i in range(len(rewards)))
    tokens = tuple((place, i) for i in range(len(rewards)))
    return RoundRow.judged(Rewards(rewards), prompt="?", responses=texts, place=place, tokens=tokens, given=given)


def agrees(rows: list[RoundRow], seed: int) -> np.ndarray:
    del seed
    return np.full((len(rows), 3), 0.8)


def chooser(selection: Any, estimator: Any = None) -> Chooser:
    return Chooser(selection, estimator, seed=0, group=ALONE)


def test_a_pair_is_left_out_where_its_chosen_answer_scores_below_the_policys_own(tmp_path: Path) -> None:
    rows = [row(0, 2.0, 0.0, 1.0, given=2), row(1, 1.0, 0.0, 2.0, given=2), row(2, 1.0, 5.0, 1.0, given=2)]
    chosen = chooser(BeatsOwn())(rows, tmp_path, 0)
    assert [one.place for one in chosen] == [
        0,
        2,
    ]  # a tie stays, and what the judge says of the rejected one is nothing
    assert chosen[1].responses == ("2 0", "2 1")  # in the order of the data
    assert chosen[1].tokens == ((2, 0), (2, 1))
    assert chosen[1].scores == (1.0, 0.0)
    assert pairs.measures_of(tmp_path) == {"pairs": 3.0, "pairs/left_out": 1.0}
    why = "the policy's own answer beats the chosen one"
    assert pairs.told([tmp_path]) == f"Of 3 pairs in all rounds 2 were learnt from. Left out: 1 because {why}."


def test_where_the_policy_answers_all_better_the_run_says_that_it_is_at_its_end(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"round 3: .* beats the chosen one of each of 1 pairs: .* nothing left"):
        chooser(BeatsOwn())([row(0, 0.0, 1.0, 2.0, given=2)], tmp_path, 2)


def test_rows_without_an_answer_of_the_policy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no answer of the policy beside a pair of the data"):
        chooser(BeatsOwn())([row(0, 1.0, 0.0, given=2)], tmp_path, 0)


def test_winners_are_of_the_better_half_and_losers_of_the_worse() -> None:
    found = [pair.answers for pair in halves(row(0, 0.0, 5.0, 1.0, 4.0, 3.0))]
    assert found == [(1, 2), (1, 0), (3, 2), (3, 0)]  # the third best of five is in none
    assert halves(row(0, 1.0, 1.0)) == []  # alike


def test_one_run_and_runs_that_say_the_same_teach_nothing() -> None:
    chances = np.random.default_rng(0).random((50, 1))
    assert not information_gain(chances).any()
    assert not information_gain(np.repeat(chances, 7, axis=1)).any()  # dropout 0


def test_runs_that_are_certain_of_opposites_teach_one_bit() -> None:
    gain = information_gain(np.array([[0.0, 1.0], [0.25, 0.75]]))
    quarter = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert gain.tolist() == pytest.approx([math.log(2), math.log(2) - quarter])


def test_the_gain_lies_between_nothing_and_a_bit() -> None:
    gains = information_gain(np.random.default_rng(1).random((1000, 10)).round(1))
    assert gains.min() >= 0
    assert gains.max() <= math.log(2)


def test_a_half_of_the_runs_is_enough_to_agree() -> None:
    assert majority(np.array([[0.9, 0.1], [0.4, 0.1], [0.5, 0.5]])).tolist() == [True, False, True]


def test_chances_to_be_drawn_are_proportional_to_a_power_of_one_less_the_gain() -> None:
    gains, asked = np.array([0.0, 0.5]), replace(ALL, kept=0.5, exponent=2.0)
    draw = np.random.default_rng(0)
    first = sum(drawn_by_gain(gains, asked, draw) == [0] for _ in range(4000)) / 4000
    assert first == pytest.approx(1 / 1.25, abs=4 * math.sqrt(0.16 / 4000))


@pytest.mark.parametrize(("gains", "exponent"), [([0.0] * 4, 3.0), ([0.0, 0.2, 0.4, 0.6], 0.0)])
def test_without_gain_or_exponent_all_are_drawn_alike(gains: list[float], exponent: float) -> None:
    counts, draw = np.zeros(4), np.random.default_rng(0)
    for _ in range(4000):
        counts[drawn_by_gain(np.array(gains), replace(ALL, kept=0.5, exponent=exponent), draw)] += 1
    assert np.abs(counts / 4000 - 0.5).max() < 4 * math.sqrt(0.25 / 4000)


def test_what_is_kept_whole_is_every_pair_of_the_halves(tmp_path: Path) -> None:
    rows = [row(n, 0.0, 1.0, 2.0, 3.0) for n in range(5)]
    chosen = chooser(ALL, agrees)(rows, tmp_path, 0)
    assert [(one.place, one.responses) for one in chosen] == [
        (pair.place, tuple(rows[pair.place].responses[i] for i in pair.answers)) for r in rows for pair in halves(r)
    ]
    assert all(one.columns == {"uncertainty": 0.0} for one in chosen)


def test_what_the_estimator_disagrees_with_is_left_out_and_shares_are_kept() -> None:
    rows = [row(n, *np.arange(6.0).tolist()) for n in range(10)]  # 9 pairs each
    asked = replace(ALL, estimated=0.5, kept=0.25)

    def by_place(of: list[RoundRow], seed: int) -> np.ndarray:
        del seed
        return np.array([[0.9, 0.8, 0.3] if one.place % 2 else [0.1, 0.2, 0.9] for one in of])

    found = informative(rows, asked, by_place, draw=np.random.default_rng(0))
    estimated = [pair for pair in found if pair.gain is not None]
    agreed = [pair for pair in estimated if pair.place % 2]
    assert (len(found), len(estimated)) == (90, 45)
    assert sum(pair.taken for pair in found) == math.ceil(0.25 * len(agreed))
    assert all(pair.place % 2 and pair.gain > 0 for pair in found if pair.taken)


def test_what_was_chosen_before_a_kill_is_not_chosen_again(tmp_path: Path) -> None:
    rows = [row(n, 0.0, 1.0, 2.0, 3.0) for n in range(5)]
    asked = replace(ALL, kept=0.5)
    first = chooser(asked, agrees)(rows, tmp_path, 1)
    assert chooser(asked, None)(rows, tmp_path, 1) == first  # no estimator is asked
    (tmp_path / "again").mkdir()
    assert chooser(asked, agrees)(rows, tmp_path / "again", 1) == first
    assert chooser(asked, agrees)(rows, tmp_path / "other", 2) != first


def test_a_round_of_which_no_pair_is_left_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the judge and the estimator disagree"):
        chooser(ALL, lambda rows, _: np.zeros((len(rows), 3)))([row(0, 0.0, 1.0)], tmp_path, 0)


def test_pairs_come_back_from_their_file(tmp_path: Path) -> None:
    found = [Pair(0, (1, 0), gain=0.1), Pair(3, (2, 5)).without("of this")]
    pairs.write(found, tmp_path)
    assert pairs.read(tmp_path) == found
    assert pairs.measures_of(tmp_path)["pairs/gain"] == 0.1
    assert pairs.read(tmp_path / "none") is None
