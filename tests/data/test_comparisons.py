from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truenorth.data.comparisons import Comparison, best_first, only, pair_up, unpair

SCORES = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=6)


def scored(scores: list[float]) -> Comparison:
    order = best_first(scores=scores)
    return Comparison("p", tuple(f"a{i}" for i in order), order, scores=tuple(scores[i] for i in order))


@given(SCORES)
def test_scores_fall_along_the_order(scores: list[float]) -> None:
    row = scored(scores)
    assert list(row.scores or ()) == sorted(scores, reverse=True)


@given(SCORES)
def test_equal_scores_stay_in_the_order_of_the_file(scores: list[float]) -> None:
    order = best_first(scores=scores)
    assert all(a < b for a, b in pairwise(order) if scores[a] == scores[b])


@given(SCORES)
def test_ranks_sort_as_the_scores_they_come_from(scores: list[float]) -> None:
    assert best_first(ranks=[-score for score in scores]) == best_first(scores=scores)


def test_scores_and_ranks_together_are_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        best_first(scores=[1.0], ranks=[1.0])


@given(SCORES)
def test_the_order_names_each_answer_in_the_file(scores: list[float]) -> None:
    row = scored(scores)
    assert row.responses == tuple(f"a{i}" for i in row.order)


@pytest.mark.parametrize(("how", "count"), [("best_vs_each", 3), ("best_vs_worst", 1), ("all_pairs", 6)])
def test_four_answers_make_as_many_pairs_as_promised(how: str, count: int) -> None:
    assert len(pair_up(scored([0.1, 0.2, 0.3, 0.4]), how)) == count  # pyright: ignore[reportArgumentType]


@given(SCORES)
def test_no_pair_without_ties_prefers_an_equal_or_worse_answer(scores: list[float]) -> None:
    for pair in pair_up(scored(scores), "all_pairs", ties="drop"):
        assert pair.scores is not None
        assert pair.scores[0] > pair.scores[1]


def test_ties_by_rank_are_left_out_too() -> None:
    row = Comparison("p", ("a", "b", "c"), (0, 1, 2), ranks=(1.0, 1.0, 2.0))
    assert [pair.order for pair in pair_up(row, "all_pairs", ties="drop")] == [(0, 2), (1, 2)]


def test_no_pairing_makes_no_pairs() -> None:
    with pytest.raises(ValueError, match="best_vs_each"):
        pair_up(scored([0.0, 1.0]), "none")


def test_a_pair_keeps_weight_and_place() -> None:
    row = Comparison("p", ("a", "b", "c"), (2, 0, 1), columns={"weight": 2.0}, file="f", row=3)
    assert only(row, (0, 2)) == Comparison("p", ("a", "c"), (2, 1), columns={"weight": 2.0}, file="f", row=3)


def test_unpaired_answers_carry_their_label() -> None:
    singles = unpair(Comparison("p", ("good", "bad"), (0, 1)))
    assert [(single.responses, single.columns["label"]) for single in singles] == [(("good",), 1.0), (("bad",), 0.0)]
