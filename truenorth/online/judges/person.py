"""A person at the terminal as a judge."""

import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from ...errors import SettingsError
from ...judge import Failed, JudgeSettings, Panel, Question
from .chat import conversation

KEYS = {"1": 1.0, "2": 0.0, "=": 0.5}
HINT = "Which is better? 1, 2, = as good, s skip this prompt, q stop: "


class Person(JudgeSettings):
    """Which of two answers a person prefers. Each pair is asked once, and kept at once: stop whenever you like."""

    kind: ClassVar[str] = "person"
    at_once: ClassVar[int] = 1
    both_orders: ClassVar[bool] = False

    @property
    def answers_at_once(self) -> Literal[1, 2]:
        return 2

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def open(self) -> Panel:
        if not sys.stdin.isatty():
            raise SettingsError("the judge is a person, and there is no terminal to ask at. Run it in one.")
        return _Session()


class _Session:
    """One sitting."""

    def __init__(self) -> None:
        self.skipped: set[str] = set()
        self.stopped = False

    def __call__(self, questions: Sequence[Question]) -> list[float | Failed]:
        return [self._ask(question) for question in questions]

    def _ask(self, question: Question) -> float | Failed:
        prompt = conversation(question.prompt)
        if self.stopped:
            return Failed("the person stopped before it")
        if prompt in self.skipped:
            return Failed("the person skipped it")
        print(f"\n{prompt}\n\n[1]\n{question.answers[0]}\n\n[2]\n{question.answers[1]}\n", file=sys.stderr)
        while True:
            match _typed():
                case "s":
                    self.skipped.add(prompt)
                    return Failed("the person skipped it")
                case "q":
                    self.stopped = True
                    return Failed("the person stopped before it")
                case key if key in KEYS:
                    return KEYS[key]
                case other:
                    print(f"{other!r} is none of them.", file=sys.stderr)


def _typed() -> str:
    """What was typed; q at the end of the input."""
    print(HINT, end="", flush=True, file=sys.stderr)
    line = sys.stdin.readline()
    return line.strip().lower() if line else "q"
