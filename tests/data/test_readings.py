import pytest
from hypothesis import given
from hypothesis import strategies as st

from truenorth.data.problems import Refused
from truenorth.data.readings import implicit_prompt, label, number, parsed

WORDS = st.lists(st.sampled_from(["a", "bc", "\n", "d\n"]), min_size=1, max_size=5).map(" ".join)


@given(WORDS, WORDS, WORDS)
def test_an_implicit_prompt_begins_all_answers_and_cuts_no_word(start: str, one: str, two: str) -> None:
    answers = [f"{start} {one}", f"{start} {two}"]
    try:
        cut = implicit_prompt(answers)
    except Refused:
        return  # the answers begin with nothing but white space
    assert answers[0][:cut] == answers[1][:cut]
    assert cut == len(answers[0]) or answers[0][cut - 1] == "\n" or answers[0][cut] == " "


@pytest.mark.parametrize(("value", "expected"), [(1, 1.0), (0.5, 0.5), ("0.5", 0.5), ("-1e3", -1000.0)])
def test_numbers_may_be_written_as_text(value: object, expected: float) -> None:
    assert number(value, "x") == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [(True, "wrong_type"), ("x", "wrong_type"), (10**400, "wrong_type"), (None, "non_finite_score")],
)
def test_what_is_no_number_is_refused(value: object, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        number(value, "x")
    assert caught.value.reason == reason


@pytest.mark.parametrize(("value", "expected"), [(True, 1.0), (0, 0.0), ("False", 0.0), ("1", 1.0), (1.0, 1.0)])
def test_labels_are_true_and_false_in_many_writings(value: object, expected: float) -> None:
    assert label(value, "x") == expected


@pytest.mark.parametrize("value", [0.5, 2, "good", -1])
def test_what_is_neither_true_nor_false_is_refused(value: object) -> None:
    with pytest.raises(Refused, match="true or false"):
        label(value, "x")


def test_json_in_text_is_read() -> None:
    assert parsed("[1]", "x") == [1]
    with pytest.raises(Refused, match="x must be JSON"):
        parsed("[1", "x")
