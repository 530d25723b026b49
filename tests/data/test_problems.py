import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truenorth.data.options import DataSettings
from truenorth.data.problems import EXAMPLES, REASONS, Account, Problem
from truenorth.errors import DataError

FATAL = [name for name, reason in REASONS.items() if reason.fatal]
BY_PROBLEM = [name for name, reason in REASONS.items() if reason.setting == "on_problem" and not reason.fatal]


def settings(**options: Any) -> DataSettings:
    return DataSettings(**options)


def account_of(*reasons: str, read: int = 10, options: DataSettings | None = None) -> Account:
    """An account of `read` rows, the first of which have one problem each."""
    account, options = Account(), options or settings()
    for number, reason in enumerate(reasons, start=1):
        action = account.note(Problem(reason, "pairs.jsonl", number, "detail"), options)
        account.row(dropped=action in ("stop", "drop"), by_choice=reason == "tie")
    for _ in range(read - len(reasons)):
        account.row(dropped=False)
    return account


@pytest.mark.parametrize("reason", FATAL)
@pytest.mark.parametrize("on_problem", ["stop", "drop", "keep"])
def test_no_setting_lets_a_fatal_row_pass(reason: str, on_problem: str) -> None:
    assert REASONS[reason].action(settings(on_problem=on_problem, too_long="drop", ties="keep")) == "stop"


@pytest.mark.parametrize("reason", BY_PROBLEM)
def test_rows_that_would_stop_the_run_are_dropped_when_asked(reason: str) -> None:
    expected = "drop" if REASONS[reason].default == "stop" else REASONS[reason].default
    assert REASONS[reason].action(settings(on_problem="drop")) == expected


@pytest.mark.parametrize("reason", BY_PROBLEM)
def test_rows_with_a_problem_are_kept_when_asked_if_they_can_be_trained_on(reason: str) -> None:
    expected = "keep" if REASONS[reason].trainable else "drop"
    assert REASONS[reason].action(settings(on_problem="keep")) == expected


@pytest.mark.parametrize("too_long", ["stop", "drop", "truncate"])
def test_a_prompt_that_fills_the_length_is_never_truncated(too_long: str) -> None:
    action = REASONS["prompt_too_long"].action(settings(too_long=too_long))
    assert action == {"stop": "stop", "drop": "drop", "truncate": "drop"}[too_long]


@given(st.lists(st.sampled_from(sorted(REASONS)), max_size=30))
def test_read_is_kept_and_dropped(reasons: list[str]) -> None:
    account = account_of(*reasons, read=30)
    assert (account.read, account.kept + account.dropped) == (30, 30)


def test_every_problem_is_counted_and_the_first_are_named() -> None:
    tally = account_of(*["duplicate"] * 7).reasons["duplicate"]
    assert tally.count == 7
    assert [example.row for example in tally.examples] == list(range(1, EXAMPLES + 1))


@pytest.mark.parametrize("reason", [name for name in REASONS if REASONS[name].action(settings()) == "stop"])
def test_a_row_that_stops_the_run_raises_with_reason_file_and_row(reason: str) -> None:
    with pytest.raises(DataError, match=rf"(?s){reason}: 1 \(stops the run\).*pairs.jsonl, row 1: detail"):
        account_of(reason).check(settings())


def test_the_message_names_the_setting_that_decides() -> None:
    with pytest.raises(DataError, match=r"--too-long drop or truncate"):
        account_of("too_long").check(settings())


def test_the_whole_account_is_in_the_message() -> None:
    with pytest.raises(DataError, match=r"(?s)10 rows read, 9 kept, 1 dropped.*duplicate: 2 \(kept\)"):
        account_of("identical_answers", "duplicate", "duplicate").check(settings())


def test_more_dropped_rows_than_allowed_stop_the_run() -> None:
    drop = settings(on_problem="drop", max_problem_share=0.2)
    account_of("null_answer", "null_answer", options=drop).check(drop)
    with pytest.raises(DataError, match=r"30.0% of the rows would be dropped, and --max-problem-share is 0.2"):
        account_of("null_answer", "null_answer", "null_answer", options=drop).check(drop)


def test_ties_do_not_count_as_problems() -> None:
    account_of(*["tie"] * 9).check(settings())


def test_no_row_left_stops_the_run() -> None:
    with pytest.raises(DataError, match="No row is left"):
        account_of(*["tie"] * 10).check(settings())


def test_an_account_outlives_json() -> None:
    account = account_of("tie", "duplicate", "duplicate")
    assert Account.from_dict(json.loads(json.dumps(account.to_dict()))) == account


def test_the_table_in_the_docs_is_the_table_in_the_code() -> None:
    lines = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8").splitlines()
    told = [line for line in lines if line.startswith("| `") and line.strip("| ").split("`")[1] in REASONS]
    assert told == [row_of(name) for name in REASONS]


def row_of(name: str) -> str:
    """The line of docs/data.md for one reason."""
    reason = REASONS[name]
    flags = {"on_problem": "`--on-problem`", "too_long": "`--too-long`", "ties": "`--ties`", "none": "nothing"}
    by = flags[reason.setting]
    keep = "" if reason.trainable else "; cannot be kept"
    setting = "nothing" if reason.fatal else by + (keep if reason.setting == "on_problem" else "")
    return f"| `{name}` | {reason.sentence} | {'yes' if reason.fatal else 'no'} | {reason.default} | {setting} |"
