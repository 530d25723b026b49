"""What every judge's answers become: verdicts that are antisymmetric, kept on disk, and honest about failures."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from truenorth import world
from truenorth.errors import SettingsError
from truenorth.judge import (
    JUDGES,
    Failed,
    Judge,
    JudgeSettings,
    Panel,
    Question,
    Rewards,
    Verdict,
    Wins,
)
from truenorth.online.judge import open_judge
from truenorth.online.judges.function import Function
from truenorth.online.judges.world import World
from truenorth.settings import build

REQUEST = "Write a review of the Blue Fox."
ANSWERS = ["What a gem the Blue Fox is!", "The soup was cold.", "soup soup"]


class Scripted(JudgeSettings):
    """A judge that notes what it is asked, and answers from a list; then a constant."""

    asked: ClassVar[list[Question]] = []
    script: ClassVar[list[float | Failed]] = []
    both: bool = False
    wait_seconds: float = 0.0

    @property
    def answers_at_once(self) -> Literal[1, 2]:
        return 2 if self.both else 1

    def open(self) -> Panel:
        def ask(questions: Sequence[Question]) -> list[float | Failed]:
            self.asked.extend(questions)
            return [self.script.pop(0) if self.script else 0.75 for _ in questions]

        return ask


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Scripted.asked.clear()
    Scripted.script.clear()


def one(judge: Judge, *answers: str) -> Verdict:
    return judge(["p"], [answers])[0]


def prefers_long_and_first(prompt: object, a: str, b: str) -> float:
    del prompt
    return min(1.0, 0.3 + (0.4 if len(a) > len(b) else 0.0) + 0.1)


def cannot(prompt: object, answer: str) -> float:
    raise ValueError(f"I know no {prompt}, nor {answer}")


def length(prompt: object, answer: str) -> float:
    del prompt
    return float(len(answer))


def test_the_world_gives_its_oracles_rewards(tmp_path: Path) -> None:
    verdict = open_judge(World(), cache=tmp_path)([REQUEST], [ANSWERS])[0]
    assert verdict == Rewards(tuple(world.reward(REQUEST, answer) for answer in ANSWERS))


def test_a_prompt_that_cannot_be_judged_is_left_out_alone(tmp_path: Path) -> None:
    verdicts = open_judge(World(), cache=tmp_path)(["Sing!", REQUEST], [ANSWERS, ANSWERS])
    assert isinstance(verdicts[0], Failed)
    assert "Sing!" in verdicts[0].reason
    assert isinstance(verdicts[1], Rewards)


def test_wins_add_up_to_one_to_the_bit() -> None:
    draw = random.Random(0)
    for _ in range(200):
        first = {(i, j): draw.random() for i in range(5) for j in range(5)}
        wins = Wins.of(first).wins
        assert all(wins[i][j] + wins[j][i] == 1 for i in range(5) for j in range(5))
        assert all(
            math.isclose(wins[i][j], 0.5 * (first[i, j] + 1 - first[j, i]))
            for i in range(5)
            for j in range(5)
            if i != j
        )


def test_what_a_judge_adds_to_the_answer_shown_first_cancels(tmp_path: Path) -> None:
    judge = open_judge(Function(function="tests.online.test_judge:prefers_long_and_first"), cache=tmp_path)
    verdict = one(judge, "long answer", "short")
    assert isinstance(verdict, Wins)
    assert verdict.wins[0][1] == pytest.approx(0.5 * (0.8 + 1 - 0.4))


def test_another_order_of_the_answers_is_the_same_verdict_in_that_order(tmp_path: Path) -> None:
    judge = open_judge(Function(function="tests.online.test_judge:prefers_long_and_first"), cache=tmp_path)
    forward, back = one(judge, "aaa", "b", "cc"), one(judge, "cc", "b", "aaa")
    assert isinstance(forward, Wins)
    assert isinstance(back, Wins)
    assert back.wins == tuple(row[::-1] for row in forward.wins[::-1])


def test_the_same_answer_twice_is_even_and_not_asked_about(tmp_path: Path) -> None:
    judge = open_judge(Scripted(both=True), cache=tmp_path)
    assert one(judge, "a", "a") == Wins(((0.5, 0.5), (0.5, 0.5)))
    assert Scripted.asked == []


def test_nothing_is_asked_twice_not_even_by_another_process(tmp_path: Path) -> None:
    one(open_judge(Scripted(both=True), cache=tmp_path), "a", "b")
    before = len(Scripted.asked)
    one(open_judge(Scripted(both=True), cache=tmp_path), "b", "c", "a")
    new = {question.answers for question in Scripted.asked[before:]}
    assert before == 2
    assert new == {("b", "c"), ("c", "b"), ("c", "a"), ("a", "c")}


def test_other_settings_have_answers_of_their_own(tmp_path: Path) -> None:
    one(open_judge(Scripted(), cache=tmp_path), "a")
    one(open_judge(Scripted(attempts=5), cache=tmp_path), "a")  # asks more patiently, not differently
    assert len(Scripted.asked) == 1
    one(open_judge(Function(function="tests.online.test_judge:length", version="1"), cache=tmp_path), "a")
    assert len(list(tmp_path.iterdir())) == 2


def test_what_fails_for_now_is_asked_again_and_what_fails_for_good_is_not(tmp_path: Path) -> None:
    Scripted.script[:] = [Failed("busy", transient=True), Failed("no such prompt"), 1.0]
    verdicts = open_judge(Scripted(), cache=tmp_path)(["p", "q"], [["a"], ["b"]])
    assert verdicts[0] == Rewards((1.0,))
    assert isinstance(verdicts[1], Failed)
    assert "no such prompt" in verdicts[1].reason
    assert [question.prompt for question in Scripted.asked] == ["p", "q", "p"]


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, Failed("unreadable", transient=True)])
def test_nonsense_is_asked_again_and_then_left_out_and_not_kept(tmp_path: Path, nonsense: float | Failed) -> None:
    Scripted.script[:] = [nonsense] * 3
    assert isinstance(one(open_judge(Scripted(), cache=tmp_path), "a"), Failed)
    assert one(open_judge(Scripted(), cache=tmp_path), "a") == Rewards((0.75,))


def test_a_probability_outside_its_range_is_nonsense(tmp_path: Path) -> None:
    Scripted.script[:] = [1.5] * 6
    verdict = one(open_judge(Scripted(both=True), cache=tmp_path), "a", "b")
    assert isinstance(verdict, Failed)
    assert "1.5" in verdict.reason
    assert "2 of 2" in verdict.reason


def test_a_function_that_cannot_judge_says_why(tmp_path: Path) -> None:
    verdict = one(open_judge(Function(function="tests.online.test_judge:cannot"), cache=tmp_path), "a")
    assert isinstance(verdict, Failed)
    assert "I know no p" in verdict.reason


def mistaken(prompt: Any, answer: str) -> float:
    return {"a": 1.0}[answer] if prompt else 0.0


def test_a_mistake_in_a_function_is_told_with_its_place_and_the_prompt() -> None:
    judge = open_judge(Function(function=f"{__name__}:mistaken"))
    with pytest.raises(SettingsError, match=r"raised KeyError: 'b' \(.*test_judge.py, line \d+\), asked about 'Why"):
        judge(["Why?"], [["a", "b"]])


def open_ended(prompt: Any, answer: str, *more: str, **named: Any) -> float:
    return float(len(prompt) + len(answer) + len(more) + len(named))


def test_arguments_that_may_be_left_out_do_not_make_a_function_compare() -> None:
    assert Function(function=f"{__name__}:open_ended").answers_at_once == 1


def test_a_function_of_one_argument_is_refused_before_it_is_called(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must take 2 or 3 arguments, got 1"):
        open_judge(Function(function="builtins:len"), cache=tmp_path)(["p"], [["a"]])


def test_rewards_as_wins_are_bradley_terry() -> None:
    wins = Rewards((1.0, -0.5, 800.0)).as_wins().wins
    assert wins[0][1] == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert wins[2][0] == 1.0


def test_wins_against_the_others_leave_the_answer_itself_out() -> None:
    wins = Wins.of({(i, j): 0.5 for i in range(3) for j in range(3)} | {(0, 1): 0.9, (1, 0): 0.1})
    assert wins.against_others() == pytest.approx(((0.9 + 0.5) / 2, (0.1 + 0.5) / 2, 0.5))


def test_what_is_no_win_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"P \+ P\^T = 1"):
        Wins(((0.5, 0.7), (0.4, 0.5)))


def test_every_kind_in_the_table_is_found_and_says_how_many_answers_it_reads() -> None:
    needs = {"function": {"function": "tests.online.test_judge:length"}, "reward": {"model": "m"}}
    needs |= {"preference": {"model": "m"}, "chat": {"url": "http://localhost:1/v1", "model": "m"}}
    for kind in JUDGES:
        settings = build(JudgeSettings, {"kind": kind} | needs.get(kind, {}), JUDGES)  # pyright: ignore[reportAbstractUsage]
        assert settings.answers_at_once in (1, 2)


def test_a_version_of_a_function_may_be_a_number() -> None:
    """As `--set run.judge.version=2` gives it."""
    assert Function.model_validate({"function": "a:f", "version": 2}) == Function(function="a:f", version="2")
