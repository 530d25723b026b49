"""The embedded world's oracles as a judge: exact, and without a model."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from ...judge import Failed, JudgeSettings, Panel, Question
from ...world import reward, tale_wins


class World(JudgeSettings):
    """Rewards of reviews and letters, or who wins among tales, where no style is best."""

    kind: ClassVar[str] = "world"
    argument: ClassVar[str] = "oracle"
    both_orders: ClassVar[bool] = False
    oracle: Literal["reward", "tale_wins"] = Field(default="reward", description="of reviews and letters, or of tales")

    @property
    def answers_at_once(self) -> Literal[1, 2]:
        return 1 if self.oracle == "reward" else 2

    def identity(self) -> None:
        """Nothing is kept: it is computed faster than read."""

    def open(self) -> Panel:
        oracle: Callable[..., float] = reward if self.oracle == "reward" else tale_wins

        def ask(questions: Sequence[Question]) -> list[float | Failed]:
            return [_answer(oracle, question) for question in questions]

        return ask


def _answer(oracle: Callable[..., float], question: Question) -> float | Failed:
    try:
        return oracle(question.prompt, *question.answers)
    except ValueError as error:  # a prompt of no domain of its
        return Failed(str(error))
