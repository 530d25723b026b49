from typing import Any

import pytest

from truenorth.data.files import RawRow
from truenorth.data.survey import Survey, kind, survey


def found(*rows: dict[str, Any] | None) -> Survey:
    raws = [RawRow("f", number, fields) for number, fields in enumerate(rows, start=1)]
    return survey(raws, prompt="prompt", answers=["chosen", "rejected", "responses"])


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "true/false"),
        (1.5, "number"),
        ("a", "text"),
        ({"role": "user", "content": "a"}, "message"),
        ({"from": "gpt", "value": "a"}, "message"),
        ({"a": 1}, "object"),
        ([], "empty list"),
        (["a", "b"], "texts"),
        ([1, 2.5], "numbers"),
        ([{"role": "user", "content": "a"}], "messages"),
        ([[{"role": "user", "content": "a"}]], "conversations"),
        ([{"response": "a"}], "objects"),
        (["a", None], "mixed list"),
    ],
)
def test_values_are_told_apart(value: object, name: str) -> None:
    assert kind(value) == name


def test_a_column_of_one_kind_is_named_by_it() -> None:
    assert found({"a": "x"}, {"a": "y"}).describe("a") == "text"


def test_a_column_of_several_kinds_names_each_and_where_it_is_absent() -> None:
    assert found({"a": "x"}, {"a": "y"}, {"a": 1}, {}).describe("a") == (
        "text in 2 rows, number in 1 rows, absent in 1 rows"
    )


def test_an_unreadable_row_is_counted_as_one() -> None:
    assert found({"a": "x"}, None).rows == 2


def test_rows_whose_answers_all_begin_with_the_prompt_are_counted() -> None:
    rows = (
        {"prompt": "p", "chosen": "pa", "rejected": "pb"},
        {"prompt": "p", "chosen": "pa", "rejected": "b"},
        {"prompt": "p", "responses": ["pa", "pb"]},
        {"prompt": "p", "responses": [[], []]},
    )
    survey_ = found(*rows)
    assert (survey_.repeats, survey_.comparable) == (2, 3)
