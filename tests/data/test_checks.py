from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truenorth.data.checks import Repeats, problems_of
from truenorth.data.comparisons import Comparison
from truenorth.data.options import Needs

USER = {"role": "user", "content": "hi"}
YES = {"role": "assistant", "content": "yes"}
LONG = "What is the sum of one and two?"


def row(prompt: Any, *responses: Any, **further: Any) -> Comparison:
    return Comparison(prompt, responses, tuple(range(len(responses))), file="f", row=1, **further)


def reasons(comparison: Comparison, **needs: Any) -> list[str]:
    return [problem.reason for problem in problems_of(comparison, Needs(**needs))]


def test_a_good_row_has_no_problem() -> None:
    assert reasons(row("p", "a", "b", scores=(2.0, 1.0))) == []


@pytest.mark.parametrize(
    ("comparison", "reason"),
    [
        (row(" \n", "a", "b"), "empty_prompt"),
        (row("p", "", "b"), "empty_answer"),
        (row((USER,), ({"role": "assistant", "content": " "},), (YES,)), "empty_answer"),
        (row("p", "a", "a"), "identical_answers"),
        (row((USER,), (YES,), (dict(YES),)), "identical_answers"),
        (row("p", "a", "b", "a", scores=(3.0, 2.0, 1.0)), "identical_answers"),
        (row(LONG, f"{LONG} Three.", "Four."), "prompt_in_answer"),
        (row((USER,), (USER, YES), ({"role": "assistant", "content": "no"},)), "prompt_in_answer"),
        (row((USER,), ({"role": "user", "content": "more"}, YES), (YES,)), "other_turn_in_answer"),
        (row((USER,), ({"role": "tool", "content": "42"}, YES), (YES,)), "other_turn_in_answer"),
        (row("p", "a", "b", scores=(1.0, 1.0)), "tie"),
        (row("p", "a", "b", ranks=(1.0, 1.0)), "tie"),
        (row("p", "a", "b", scores=(1.0, 2.0)), "score_against_label"),
        (row("p", "a"), "too_few_answers"),
    ],
)
def test_a_problem_is_named(comparison: Comparison, reason: str) -> None:
    assert reasons(comparison) == [reason]


def test_a_short_prompt_at_an_answers_beginning_may_be_chance() -> None:
    assert reasons(row("Hi", "Hi, how are you?", "No")) == []


def test_a_call_of_a_tool_is_an_answer_without_text() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add"}}]}
    assert reasons(row((USER,), (call,), (YES,))) == []


def test_a_method_that_reads_scores_needs_them_in_each_row() -> None:
    assert reasons(row("p", "a", "b"), rewards=True) == ["missing_value"]


def test_a_method_that_reads_a_column_needs_it_in_each_row() -> None:
    assert reasons(row("p", "a", "b"), columns=("margin",)) == ["missing_value"]
    assert reasons(row("p", "a", "b", columns={"margin": 1.0}), columns=("margin",)) == []


def test_an_answer_that_was_judged_bad_is_no_demonstration() -> None:
    bad, good = (row("p", "a", columns={"label": label}) for label in (0.0, 1.0))
    assert [reasons(one, candidates=(1, 1)) for one in (bad, good)] == [["unwanted_answer"], []]
    assert reasons(bad, candidates=(1, 1), columns=("label",)) == []


def test_pairs_bring_the_labels_of_single_answers() -> None:
    assert reasons(row("p", "a", "b"), candidates=(1, 1), columns=("label",)) == []


def repeats_of(*rows: Comparison) -> Repeats:
    repeats = Repeats()
    for ordinal, comparison in enumerate(rows):
        repeats.add(ordinal, comparison)
    return repeats


def test_the_first_of_equal_rows_is_no_duplicate() -> None:
    repeats = repeats_of(row("p", "a", "b"), row("q", "a", "b"), row("p", "a", "b"), row("p", "a", "b"))
    assert repeats.duplicates().tolist() == [2, 3]
    assert repeats.contradictions().tolist() == []


def test_all_rows_of_a_contradiction_are_named() -> None:
    repeats = repeats_of(row("p", "a", "b"), row("q", "c", "d"), row("p", "b", "a"), row("p", "a", "b"))
    assert repeats.contradictions().tolist() == [0, 2, 3]


def test_another_label_for_the_same_answer_is_a_contradiction() -> None:
    liked, disliked = (row("p", "a", columns={"label": label}) for label in (1.0, 0.0))
    assert repeats_of(liked, disliked).contradictions().tolist() == [0, 1]


def test_another_prompt_makes_no_contradiction() -> None:
    assert repeats_of(row("p", "a", "b"), row("q", "b", "a")).contradictions().tolist() == []


def test_texts_that_join_to_the_same_are_told_apart() -> None:
    assert repeats_of(row("p", "ab", "c"), row("pa", "b", "c")).duplicates().tolist() == []


def test_without_rows_nothing_repeats() -> None:
    assert len(Repeats().duplicates()) == len(Repeats().contradictions()) == 0


PAIRS = st.lists(st.tuples(st.sampled_from("pq"), st.sampled_from(["ab", "ba", "ac"])), max_size=12)


@given(PAIRS)
def test_repeats_are_those_that_a_dictionary_finds(pairs: list[tuple[str, str]]) -> None:
    repeats = repeats_of(*(row(prompt, *answers) for prompt, answers in pairs))
    duplicates = [i for i, pair in enumerate(pairs) if pair in pairs[:i]]
    opposed = [i for i, (prompt, answers) in enumerate(pairs) if (prompt, answers[::-1]) in pairs]
    assert repeats.duplicates().tolist() == duplicates
    assert repeats.contradictions().tolist() == opposed
