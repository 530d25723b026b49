"""Rounds that are compared with earlier ones: what is asked for it, and what is not."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from truenorth.judge import Failed, Rewards, Verdict, Wins, sigmoid
from truenorth.online import comparing
from truenorth.online.round_file import RoundFile, RoundRow, Written

PROMPTS = [f"Say {n}." for n in range(8)]


def write_round(folder: Path, number: int, rewards: Sequence[float], prompts: Sequence[str] = PROMPTS) -> None:
    rows = [
        RoundRow.judged(Rewards(tuple(rewards)), prompt=prompt, responses=tuple(map(str, rewards)), place=place)
        for place, prompt in enumerate(prompts)
    ]
    RoundFile(folder / f"{number + 1:04}").append(rows, Written(tuple(range(len(rows))), {}, 0.0, 0.0))


class Counting:
    """The first answer wins, but for what it cannot say; `asked` counts."""

    def __init__(self, silent: Sequence[str] = ()) -> None:
        self.silent, self.asked = silent, 0

    def __call__(self, prompts: Sequence[Any], answers: Sequence[Sequence[str]]) -> list[Verdict]:
        self.asked += len(prompts)
        del answers
        first = Wins(((0.5, 1.0), (0.0, 0.5)))
        return [Failed("hm") if prompt in self.silent else first for prompt in prompts]


def test_wins_by_rewards_are_the_mean_over_all_pairs_of_answers(tmp_path: Path) -> None:
    write_round(tmp_path, 0, [0.0, 1.0])
    write_round(tmp_path, 1, [2.0, 0.0], PROMPTS[2:])
    wins = comparing.wins_by_rewards(comparing.shared(tmp_path, 1, 0))
    assert wins == [pytest.approx((sigmoid(2) + sigmoid(1) + sigmoid(0) + sigmoid(-1)) / 4)] * 6


def test_the_same_rewards_win_half_of_the_time(tmp_path: Path) -> None:
    for number in range(2):
        write_round(tmp_path, number, [0.3, 0.1, -2.0])
    assert comparing.wins_by_rewards(comparing.shared(tmp_path, 1, 0)) == [pytest.approx(0.5)] * 8


def test_a_judge_is_asked_once_about_two_rounds(tmp_path: Path) -> None:
    write_round(tmp_path, 0, [0.0, 1.0])
    write_round(tmp_path, 1, [2.0, 0.0])
    judge, rows = Counting(silent=PROMPTS[:1]), comparing.shared(tmp_path, 1, 0)
    found = [comparing.wins_by_judge(rows, judge, tmp_path / "0002", 0) for _ in range(3)]
    assert found == [[1.0] * 7] * 3
    assert judge.asked == 8
    assert comparing.measures_of(tmp_path / "0002")["comparisons"] == 8


def test_about_too_few_prompts_nobody_is_asked(tmp_path: Path) -> None:
    write_round(tmp_path, 0, [0.0, 1.0])
    write_round(tmp_path, 1, [2.0, 0.0], PROMPTS[: comparing.FEWEST - 1])
    judge = Counting()
    assert comparing.wins_by_judge(comparing.shared(tmp_path, 1, 0), judge, tmp_path / "0002", 0) == []
    assert judge.asked == 0


def test_too_few_wins_are_counted_and_not_told() -> None:
    assert comparing.told("w", [1.0] * 4) == {"w/count": 4.0}
    enough = comparing.told("w", [1.0] * 5)
    assert enough["w"] == 1.0
    assert enough["w/low"] < 0.6  # five of five are no certainty


def test_comparisons_stand_in_the_later_rounds_folder_as_json(tmp_path: Path) -> None:
    write_round(tmp_path, 0, [0.0, 1.0])
    write_round(tmp_path, 1, [2.0, 0.0])
    comparing.wins_by_judge(comparing.shared(tmp_path, 1, 0), Counting(), tmp_path / "0002", 0)
    (line,) = (json.loads(text) for text in (tmp_path / "0002/compared.jsonl").read_text().splitlines())
    assert (line["round"], line["asked"], line["wins"]) == (1, 8, {str(place): 1.0 for place in range(8)})
