"""What is said of rounds, on invented metrics."""

from typing import Any

import pytest

from truenorth.evaluate.round_text import headline, of_round
from truenorth.online.comparing import told


def rounds(*of_each: dict[str, float]) -> list[dict[str, Any]]:
    return [{"split": "round", "round": float(n), "rows": 24.0} | one for n, one in enumerate(of_each, 1)]


def plain(text: str | None) -> str:
    assert text is not None
    return text.replace("\u202f", " ")


def test_a_round_that_wins_nothing_is_told_so() -> None:
    record = {"round": 2.0, "rows": 4.0, "left_out": 0.0, "wins/initial": 0.0, "wins/previous": 0.25}
    assert of_round(record) == "Round 2: 4 prompts, wins 0% against the start, 25% against the round before"


def test_wins_are_told_with_how_many_prompts_and_how_sure() -> None:
    record = rounds({}, told("wins/initial", [1.0] * 8 + [0.0] * 2) | told("wins/previous", [0.5] * 10))[1]
    assert of_round(record) == (
        "Round 2: 24 prompts, wins 80% against the start (10 prompts, 95%: 49 to 94%), "
        "50% against the round before (10 prompts, 95%: 24 to 76%)"
    )


def test_wins_on_a_single_prompt_are_no_percentage() -> None:
    record = rounds({}, told("wins/initial", [1.0]) | told("wins/previous", [0.5] * 10))[1]
    assert "too few shared prompts to tell wins (1 with the start)" in of_round(record)
    assert "100%" not in of_round(record)


def test_a_judge_that_compares_is_headed_by_the_wins_against_the_start() -> None:
    found = headline("MPO", rounds({}, told("wins/initial", [1.0] * 8 + [0.0] * 2)))
    assert plain(found) == "MPO wins 80 % against the start in round 2 (95 %: 49 to 94 %, 10 prompts)"


def test_where_a_judge_that_compares_saw_one_prompt_the_headline_says_so() -> None:
    found = headline("MPO", rounds({"rewards/judge": 0.5}, {"rewards/judge": 0.5} | told("wins/initial", [1.0])))
    assert "wins against the start are not known: only 1 prompt can be compared" in plain(found)


def test_a_judge_of_rewards_is_headed_by_their_mean_and_how_sure_its_gain_is() -> None:
    gain = {"rewards/gain": 0.5, "rewards/gain/low": 0.25, "rewards/gain/high": 0.75}
    wins = told("wins/initial", [0.6] * 9)
    found = rounds({"rewards/judge": 0.25}, {"rewards/judge": 0.75, **gain, **wins, "rewards/gain/count": 9.0})
    said = "RLOO took the judge's mean from 0.25 to 0.75 in 2 rounds (by 0.5, 95 %: 0.25 to 0.75, "
    assert plain(headline("RLOO", found)) == said + "on 9 prompts that both asked)"
    del found[1]["rewards/gain/count"]
    assert plain(headline("RLOO", found)) == said + "of different prompts)"


def test_prompts_that_are_left_out_are_told_with_their_reason_and_log() -> None:
    record = {"round": 1.0, "rows": 19.0, "left_out": 5.0, "left_out/why": "I cannot read an x"}
    assert of_round(record) == (
        "Round 1: 19 prompts, 5 left out (most often because: I cannot read an x; rounds/0001/log.jsonl)"
    )


@pytest.mark.parametrize("found", [[], rounds({"rewards/judge": 0.25}), rounds({}, {})])
def test_where_nothing_can_be_compared_there_is_no_headline(found: list[dict[str, Any]]) -> None:
    assert headline("RLOO", found) is None


def test_a_first_round_that_was_given_is_not_the_start() -> None:
    found = rounds({"given/answers": 48.0}, {"rewards/judge": 0.25}, {"rewards/judge": 0.75})
    assert headline("RLOO", found) == "RLOO took the judge's mean from 0.25 in round 2 to 0.75 in round 3"
    assert of_round(found[0]) == "Round 1: 24 prompts, 48 answers, taken from rows.jsonl as it was there"
