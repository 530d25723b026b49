from typing import Any

from tests.synthetic_run import ACCOUNT
from truenorth.evaluate.account import Account

KEPT_BY_THE_DATA_LAYER: dict[str, Any] = {
    "account": {
        "read": 10,
        "kept": 9,
        "dropped": 1,
        "reasons": {
            "too_long": {
                "count": 1,
                "action": "drop",
                "examples": [{"reason": "too_long", "file": "a.jsonl", "row": 4, "detail": "3,071 tokens"}],
            }
        },
    },
    "layouts": [{"lines": ["prompt <- question"]}, {"lines": ["chosen <- best"]}],
    "statistics": {
        "prompt": {"count": 9, "mean": 20.5, "median": 20.0, "p95": 31.0, "p99": 33.0, "most": 34},
        "rejected": None,
        "length_bias": {"pairs": 9, "share": 0.625},
        "tokens_saved": 0.31,
    },
}


def test_what_the_data_layer_keeps_is_read_as_a_flat_record() -> None:
    account = Account.model_validate(KEPT_BY_THE_DATA_LAYER)
    assert (account.read, account.kept, account.mapping) == (10, 9, ["prompt <- question", "chosen <- best"])


def test_a_reason_carries_its_first_example_and_its_words() -> None:
    (reason,) = Account.model_validate(KEPT_BY_THE_DATA_LAYER).reasons
    assert reason.example is not None
    assert (reason.example.row, reason.example.text) == (4, "3,071 tokens")
    assert "max_length" in reason.sentence


def test_a_reason_that_is_not_ours_has_no_words() -> None:
    assert Account.model_validate({"reasons": [{"name": "odd", "count": 1}]}).reasons[0].sentence == ""


def test_lengths_become_a_table_with_columns() -> None:
    title, header, rows = Account.model_validate(KEPT_BY_THE_DATA_LAYER).tables[0]
    assert (title, header[1:], rows) == (
        "Lengths, tokens",
        ["median", "95\u202f%", "longest"],
        [["Prompt", "20", "31", "34"]],
    )


def test_shares_are_shown_in_percent() -> None:
    tables = {title: rows for title, _, rows in Account.model_validate(KEPT_BY_THE_DATA_LAYER).tables}
    assert tables["Shared prompts"] == [["Tokens saved", "31\u202f%"]]


def test_parts_that_are_absent_have_no_table() -> None:
    assert Account.model_validate({"read": 3}).tables == []


def test_a_flat_record_is_read_as_it_is() -> None:
    assert [reason.count for reason in Account.model_validate(ACCOUNT).reasons] == [97, 61]
