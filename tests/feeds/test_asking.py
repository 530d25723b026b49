"""How often a judge is asked in a run of rounds, on a tiny model."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.feeds.test_played import QUICK, lines, short
from tests.vowels import brief, rounder
from truenorth import align

ASKED: list[tuple[str, ...]] = []


def counted(prompt: Any, answer: str) -> float:
    ASKED.append((str(prompt), answer))
    return brief(prompt, answer.replace("x", ""))


def counted_wins(prompt: Any, first: str, second: str) -> float:
    ASKED.append((str(prompt), first, second))
    return rounder(prompt, first, second)


def play(folder: Path, model: str, judge: Any, **changes: Any) -> tuple[list[dict[str, Any]], str]:
    """The lines of the rounds, and the report."""
    ASKED.clear()
    (folder / "prompts.txt").write_text("".join(f"What of number {i}?\n" for i in range(6)))
    made = short("online_dpo", k=2, **changes)
    align(made, model=model, prompts=str(folder / "prompts.txt"), judge=judge, out=folder / "run", **QUICK)
    return lines(folder / "run", "round"), (folder / "run/report.html").read_text(encoding="utf-8")


def test_rewards_that_stand_in_the_rows_are_not_asked_for_again(model: str, tmp_path: Path) -> None:
    rounds, report = play(tmp_path, model, counted)
    assert len(ASKED) == len(set(ASKED)) <= 6 * 2 * 3
    assert rounds[2]["wins/initial/count"] == rounds[2]["rewards/gain/count"] == 6
    assert rounds[2]["rewards/gain/low"] <= rounds[2]["rewards/gain"] <= rounds[2]["rewards/gain/high"]
    difference = rounds[2]["rewards/judge"] - rounds[0]["rewards/judge"]
    assert rounds[2]["rewards/gain"] == pytest.approx(difference)
    assert "comparisons" not in rounds[2]
    assert "on 6 prompts that both asked" in report


def test_a_judge_that_compares_is_asked_about_each_earlier_round_once(model: str, tmp_path: Path) -> None:
    rounds, report = play(tmp_path, model, counted_wins, rounds=2)
    assert len(ASKED) == len(set(ASKED)) <= 2 * (6 * 2 + 6)  # both orders: the rounds' own pairs, and one comparison
    assert rounds[1]["comparisons"] == 6
    assert rounds[1]["seconds/comparing"] >= 0
    assert "rewards/judge" not in rounds[1]  # 1/2 whatever is said
    assert "against the start in round 2" in report
    assert "Wins against the start" in report


def test_a_round_that_was_given_is_told_and_not_taken_for_the_start(model: str, tmp_path: Path) -> None:
    (tmp_path / "run/rounds/0001").mkdir(parents=True)
    rows = [{"prompt": f"What of number {i}?", "responses": ["a", "bad"], "scores": [9.0, 1.0]} for i in range(6)]
    (tmp_path / "run/rounds/0001/rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rounds, report = play(tmp_path, model, counted)
    assert (rounds[0]["rows"], rounds[0]["given/answers"]) == (6, 12)
    assert not any(name.startswith(("rewards/", "wins/")) for name in rounds[0])
    assert not any(name.startswith(("wins/", "rewards/gain")) for name in rounds[1])  # nothing was played before it
    assert "wins/previous/count" in rounds[2]
    assert "wins/initial/count" not in rounds[2]
    assert "rounds/0001/rows.jsonl (6 prompts, 12 answers)" in report
    assert "in round 2 to" in report
