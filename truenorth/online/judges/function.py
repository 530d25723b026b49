"""A Python function as a judge."""

import inspect
import traceback
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from ...errors import SettingsError
from ...judge import Failed, JudgeSettings, Panel, Question
from ...settings import find


class Function(JudgeSettings):
    """`f(prompt, answer)` gives a reward, `f(prompt, a, b)` gives P(a beats b); called for both orders.

    It says that it cannot judge by raising ValueError, and that it may be asked again by raising OSError (time-outs
    are). Other exceptions are mistakes in it, and end the run with a SettingsError.
    """

    kind: ClassVar[str] = "function"
    argument: ClassVar[str] = "function"
    function: str = Field(description="package.module:function")
    model_config = ConfigDict(coerce_numbers_to_str=True)  # of a version 2 on a command line, which is text here

    version: str | None = Field(default=None, description="of the function; given, its answers are kept on disk")

    @property
    def answers_at_once(self) -> Literal[1, 2]:
        parameters = inspect.signature(self._found()).parameters.values()
        takes = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if len(takes) not in (2, 3):
            raise SettingsError(
                f"the judge {self.function} must take 2 or 3 arguments, got {len(takes)}: (prompt, answer) gives a "
                "reward, (prompt, a, b) gives P(a beats b)."
            )
        return 1 if len(takes) == 2 else 2

    def check_place(self) -> None:
        _ = self.answers_at_once

    def identity(self) -> dict[str, Any] | None:
        return super().identity() if self.version is not None else None

    def open(self) -> Panel:
        function = self._found()

        def ask(questions: Sequence[Question]) -> list[float | Failed]:
            return [_answer(function, question) for question in questions]

        return ask

    def _found(self) -> Callable[..., Any]:
        function = find(self.function)
        if not callable(function):
            raise SettingsError(f"the judge {self.function} is no function, got {type(function).__name__}.")
        return function


def _answer(function: Callable[..., Any], question: Question) -> float | Failed:
    try:
        value = function(question.prompt, *question.answers)
    except ValueError as error:
        return Failed(f"{error}")
    except OSError as error:
        return Failed(f"{type(error).__name__}: {error}", transient=True)
    except Exception as error:
        raise SettingsError(_mistake(error, question)) from error
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Failed(f"the judge gave {value!r} where a number was asked", transient=True)
    return float(value)


def _mistake(error: Exception, question: Question) -> str:
    """Where a function went wrong, and at what."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"the judge raised {type(error).__name__}: {error} ({at.filename}, line {at.lineno}), asked about "
        f"{str(question.prompt)[:80]!r} with {' and '.join(repr(answer[:80]) for answer in question.answers)}. "
        "A judge that cannot judge a prompt raises ValueError, and the prompt is left out."
    )
