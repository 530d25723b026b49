from typing import Any

import pytest

from truenorth.data import layouts
from truenorth.data.comparisons import Comparison
from truenorth.data.files import RawRow
from truenorth.data.layouts import Layout
from truenorth.data.problems import Problem
from truenorth.data.survey import survey
from truenorth.errors import DataError

USER = {"role": "user", "content": "hi"}
YES = {"role": "assistant", "content": "yes"}
NO = {"role": "assistant", "content": "no"}
EXPECTED = Comparison((USER,), ((YES,), (NO,)), (0, 1), file="f", row=1)


def raws(*fields: dict[str, Any]) -> list[RawRow]:
    return [RawRow("f", number, row) for number, row in enumerate(fields, start=1)]


def layout_of(*fields: dict[str, Any], **options: Any) -> Layout:
    asked = {"columns": {}, "candidates": (2, None), "numbers": (), **options}
    prompt, answers = layouts.columns_of_texts(asked["columns"])
    return layouts.layout_of(survey(raws(*fields), prompt=prompt, answers=answers), **asked)


def read(fields: dict[str, Any], **options: Any) -> Comparison:
    found = layout_of(fields, **options).comparison(raws(fields)[0])
    assert isinstance(found, Comparison), found
    return found


def refused(fields: dict[str, Any], *others: dict[str, Any]) -> Problem:
    """What hinders `fields`, in a file with `others` before it."""
    found = layout_of(*others, fields).comparison(raws(*others, fields)[-1])
    assert isinstance(found, Problem), found
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
        {"prompt": [USER], "chosen": YES, "rejected": NO},
        {"chosen": [USER, YES], "rejected": [USER, NO]},
        {"prompt": "hi", "chosen": [USER, YES], "rejected": [USER, NO]},
        {"prompt": [USER], "chosen": [USER, YES], "rejected": [USER, NO]},
        {
            "conversations": [{"from": "human", "value": "hi"}],
            "chosen": {"from": "gpt", "value": "yes"},
            "rejected": {"from": "gpt", "value": "no"},
        },
    ],
    ids=["messages", "single messages", "implicit", "binarized", "repeated", "sharegpt"],
)
def test_layouts_of_messages_say_the_same(fields: dict[str, Any]) -> None:
    assert read(fields) == EXPECTED


def test_a_text_prompt_with_answers_as_messages_stays_a_text() -> None:
    assert read({"prompt": "hi", "chosen": [YES], "rejected": [NO]}).prompt == "hi"


def test_a_system_message_before_a_repeated_prompt_is_part_of_it() -> None:
    system = {"role": "system", "content": "be kind"}
    row = read({"prompt": "hi", "chosen": [system, USER, YES], "rejected": [system, USER, NO]})
    assert (row.prompt, row.responses) == ((system, USER), ((YES,), (NO,)))


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("\n\nHuman: hi\n\nAssistant: I do", "\n\nHuman: hi\n\nAssistant: I do not", "\n\nHuman: hi\n\nAssistant:"),
        ("Q: hi?\nA: yes", "Q: hi?\nA: no", "Q: hi?\n"),
        ("the sky is blue", "the sky is bleak", "the sky is"),
    ],
)
def test_a_prompt_inside_texts_ends_where_a_turn_a_line_or_a_word_ends(
    chosen: str, rejected: str, prompt: str
) -> None:
    row = read({"chosen": chosen, "rejected": rejected})
    assert row.prompt == prompt
    assert [f"{row.prompt}{response}" for response in row.responses] == [chosen, rejected]


def test_answers_with_nothing_in_common_have_no_prompt() -> None:
    assert refused({"chosen": "yes", "rejected": "no"}).reason == "empty_prompt"


def test_a_prompt_that_all_answers_of_the_file_begin_with_is_taken_off() -> None:
    row = {"prompt": "Say it: ", "chosen": "Say it: yes", "rejected": "Say it: no"}
    assert read(row).responses == ("yes", "no")
    assert any("taken off" in line for line in layout_of(row).lines)


def test_ultrafeedback_is_sorted_by_its_overall_score() -> None:
    completions = [{"response": "b", "overall_score": 2.0}, {"response": "a", "overall_score": 8.5}]
    row = read({"instruction": "hi", "source": "x", "completions": completions})
    assert (row.prompt, row.responses, row.scores, row.order) == ("hi", ("a", "b"), (8.5, 2.0), (1, 0))


def test_ranked_completions_in_messages_are_sorted_by_rank() -> None:
    completions = [{"rank": 1, "completion": [NO]}, {"rank": 0, "completion": [YES]}]
    row = read({"context": [USER], "completions": completions})
    assert (row.prompt, row.responses, row.ranks) == ((USER,), ((YES,), (NO,)), (0.0, 1.0))


@pytest.mark.parametrize("name", ["responses", "completions"])
@pytest.mark.parametrize("numbers", [{"scores": [1, 3, 2]}, {"ranks": [3, 1, 2]}])
def test_k_answers_are_sorted_best_first(name: str, numbers: dict[str, Any]) -> None:
    row = read({"prompt": "p", name: ["a", "b", "c"], **numbers})
    assert (row.responses, row.order) == (("b", "c", "a"), (1, 2, 0))


def test_equal_scores_keep_the_order_of_the_file() -> None:
    assert read({"prompt": "p", "responses": ["a", "b", "c"], "scores": [1, 1, 2]}).order == (2, 0, 1)


def test_a_label_makes_one_answer_of_kto() -> None:
    row = read({"prompt": "p", "completion": "c", "label": False}, candidates=(1, 1))
    assert (row.responses, row.columns) == (("c",), {"label": 0.0})


@pytest.mark.parametrize("name", ["completion", "response", "output"])
def test_a_prompt_with_one_answer_is_a_demonstration(name: str) -> None:
    assert read({"prompt": "p", name: "c"}, candidates=(1, 1)).responses == ("c",)


def test_the_last_message_of_a_conversation_is_the_answer() -> None:
    row = read({"messages": [USER, NO, USER, YES]}, candidates=(1, 1))
    assert (row.prompt, row.responses) == ((USER, NO, USER), ((YES,),))


def test_alpacas_input_stands_behind_its_instruction() -> None:
    assert read({"instruction": "add", "input": "1 2", "output": "3"}, candidates=(1, 1)).prompt == "add\n\n1 2"


@pytest.mark.parametrize("more", [["1", "2"], 3, [USER]])
def test_an_input_that_is_no_text_is_refused(more: object) -> None:
    row = {"instruction": "add", "output": "3"}
    found = layout_of({**row, "input": "1 2"}, candidates=(1, 1)).comparison(raws({**row, "input": more})[0])
    assert isinstance(found, Problem)
    assert found.reason == "wrong_type"


def test_a_file_of_pairs_and_messages_serves_a_method_of_single_answers_too() -> None:
    fields = {"prompt": "p", "chosen": [USER, YES], "rejected": [USER, NO], "messages": [USER, YES]}
    assert [layout_of(fields, candidates=c).name for c in ((2, 2), (1, 1))] == ["pairs", "conversations"]


def test_named_columns_play_their_roles() -> None:
    columns = {"prompt": "question", "chosen": "answer_good", "rejected": "answer_bad"}
    row = read({"question": "q", "answer_good": "a", "answer_bad": "b"}, columns=columns)
    assert (row.prompt, row.responses) == ("q", ("a", "b"))


def test_scores_and_margins_of_pairs_and_weights_are_read() -> None:
    fields = {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 2, "score_rejected": "1.5"}
    row = read({**fields, "margin": 0.5, "weight": 2})
    assert (row.scores, row.columns) == ((2.0, 1.5), {"margin": 0.5, "weight": 2.0})


def test_a_pairs_label_outweighs_its_scores() -> None:
    fields = {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 2}
    assert read(fields).responses == ("a", "b")


def test_any_number_can_be_named() -> None:
    fields = {"prompt": "p", "chosen": "a", "rejected": "b", "std": 0.25}
    assert read(fields, columns={"noise": "std"}).columns == {"noise": 0.25}


def test_tools_may_be_a_list_or_its_json() -> None:
    fields = {"prompt": "p", "chosen": "a", "rejected": "b"}
    tools = [{"type": "function"}]
    assert read({**fields, "tools": tools}).tools == read({**fields, "tools": '[{"type": "function"}]'}).tools


def test_settings_for_the_template_are_read() -> None:
    fields = {"prompt": "p", "chosen": "a", "rejected": "b", "chat_template_kwargs": {"enable_thinking": False}}
    assert read(fields).chat_template_kwargs == {"enable_thinking": False}


def test_the_whole_file_is_read_and_not_its_first_row() -> None:
    rows = ({"prompt": None, "chosen": "a", "rejected": "b"}, {"prompt": "p", "chosen": "a", "rejected": "b"})
    assert "prompt <- prompt (null in 1 rows, text in 1 rows)" in str(layout_of(*rows).lines)


def test_unused_columns_are_named_with_what_is_near() -> None:
    lines = layout_of({"prompt": "p", "chosen": "a", "rejected": "b", "wieght": 1, "id": 3}).lines
    assert "  not used: wieght, id" in lines
    assert "  not used: wieght. Did you mean weight?" in lines


GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}
MANY = {"prompt": "p", "responses": ["a", "b"], "scores": [1, 2]}


@pytest.mark.parametrize(
    ("fields", "others", "reason"),
    [
        ({"prompt": "p", "chosen": None, "rejected": "b"}, [GOOD], "null_answer"),
        ({"prompt": None, "chosen": "a", "rejected": "b"}, [GOOD], "empty_prompt"),
        ({"prompt": "p", "chosen": "a"}, [GOOD], "missing_column"),
        ({"prompt": "p", "chosen": 3, "rejected": "b"}, [GOOD], "wrong_type"),
        ({"prompt": "p", "chosen": ["a"], "rejected": "b"}, [GOOD], "wrong_type"),
        ({"prompt": [{"role": "humn", "content": "p"}], "chosen": "a", "rejected": "b"}, [], "unknown_role"),
        ({"prompt": [{"from": "humn", "value": "p"}], "chosen": "a", "rejected": "b"}, [], "unknown_role"),
        (
            {"prompt": [{"role": "user", "content": [{"type": "image"}]}], "chosen": "a", "rejected": "b"},
            [],
            "not_text",
        ),
        ({"prompt": "\ud800", "chosen": "a", "rejected": "b"}, [], "unparsable"),
        ({**GOOD, "weight": -1}, [], "negative_weight"),
        ({**GOOD, "weight": "heavy"}, [{**GOOD, "weight": 1}], "wrong_type"),
        ({**GOOD, "margin": float("nan")}, [], "non_finite_score"),
        ({**GOOD, "score_chosen": float("inf"), "score_rejected": 1}, [], "non_finite_score"),
        ({**MANY, "scores": [1, None]}, [MANY], "non_finite_score"),
        ({**MANY, "scores": None}, [MANY], "non_finite_score"),
        ({**MANY, "scores": [1, float("nan")]}, [MANY], "non_finite_score"),
        ({**MANY, "scores": [1]}, [MANY], "length_mismatch"),
        ({**MANY, "scores": "12"}, [MANY], "wrong_type"),
        ({**MANY, "responses": ["a", None]}, [MANY], "null_answer"),
        ({**MANY, "responses": None}, [MANY], "null_answer"),
        ({"prompt": "p", "responses": ["a", "b"]}, [], "missing_value"),
        ({"instruction": "p", "completions": [{"model": "x"}]}, [], "missing_column"),
        ({"prompt": "p", "completion": "a", "label": "maybe"}, [], "wrong_type"),
        ({"messages": [USER]}, [], "empty_answer"),
        ({"messages": [YES]}, [], "empty_prompt"),
        ({"messages": "hi"}, [], "wrong_type"),
    ],
)
def test_a_row_that_cannot_be_read_has_a_named_reason(
    fields: dict[str, Any], others: list[dict[str, Any]], reason: str
) -> None:
    assert refused(fields, *others).reason == reason


def test_an_unreadable_row_is_unparsable_with_its_fault() -> None:
    problem = layout_of(GOOD).comparison(RawRow("f", 4, None, "not JSON"))
    assert problem == Problem("unparsable", "f", 4, "not JSON")


def test_an_unknown_role_names_the_nearest() -> None:
    fields = {"prompt": [{"from": "humn", "value": "p"}], "chosen": "a", "rejected": "b"}
    assert refused(fields).detail == "prompt has the role 'humn'. Did you mean human?"


def test_columns_that_fit_no_layout_are_named_with_what_they_may_mean() -> None:
    with pytest.raises(DataError) as caught:
        layout_of({"question": "q", "answer_good": "a", "answer_bad": "b"})
    assert "It has the columns question, answer_good, answer_bad." in str(caught.value)
    assert "--columns prompt=question chosen=answer_good rejected=answer_bad" in str(caught.value)


def test_a_misspelt_column_is_near_its_role() -> None:
    with pytest.raises(DataError, match=r"chosen=choosen"):
        layout_of({"prompt": "q", "choosen": "a", "rejected": "b"})


def test_a_named_column_that_is_missing_names_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no column answr, named for the role chosen. Did you mean answer\?"):
        layout_of({"prompt": "q", "answer": "a", "rejected": "b"}, columns={"chosen": "answr"})


def test_a_role_that_is_none_names_the_nearest() -> None:
    with pytest.raises(DataError, match=r"chosn is not a role that a column can play. Did you mean chosen\?"):
        layout_of({"prompt": "q", "answer": "a", "rejected": "b"}, columns={"chosn": "answer"})


@pytest.mark.parametrize("column", ["image", "images", "audio"])
def test_rows_with_other_media_are_refused(column: str) -> None:
    with pytest.raises(DataError, match=f"has a column {column}. TrueNorth trains on text only"):
        layout_of({**GOOD, column: ["x.png"]})


def test_an_empty_column_of_images_is_no_reason_to_refuse() -> None:
    assert layout_of({**GOOD, "images": []}).name == "pairs"


def test_a_file_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="has no rows"):
        layout_of()


def test_rows_of_text_are_plain_whatever_other_columns_hold() -> None:
    assert layout_of({**GOOD, "messages": [USER, YES], "tags": "messages"}).plain


@pytest.mark.parametrize("chosen", [YES, [YES], [USER, YES]])
def test_rows_with_messages_are_not_plain(chosen: object) -> None:
    assert not layout_of(GOOD, {**GOOD, "chosen": chosen}).plain
    assert not layout_of({**MANY, "responses": [[YES], [NO]]}).plain
