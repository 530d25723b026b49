"""A pairwise preference model as a judge."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from ...errors import ModelError
from ...judge import Failed, JudgeSettings, Panel, Question
from ...models.origin import fingerprint, must_exist
from .reward import as_trained, scored


class PreferenceModel(JudgeSettings):
    """P(first beats second) under a model of `truenorth train preference`, which is asked in both orders.

    It reads the prompt and both answers one behind the other, each with the token that ends it; its one number is the
    log odds that the first wins.
    """

    kind: ClassVar[str] = "preference"
    argument: ClassVar[str] = "model"
    model: str = Field(description="directory of a preference model")
    trust_remote_code: bool = Field(default=False, description="run the model repository's own Python code")

    @property
    def answers_at_once(self) -> Literal[1, 2]:
        return 2

    def check_place(self) -> None:
        must_exist(self.model)

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "model": fingerprint(self.model)}

    def open(self) -> Panel:
        from ...models.answer_scores import AnswerScores

        scores = AnswerScores.load(self.model, trust_remote_code=self.trust_remote_code)
        if scores.about.get("kind") != "preference":
            raise ModelError(
                f"{self.model} was not written by `truenorth train preference`, so how it reads two answers is not "
                "known. A model that scores one answer is a judge of the kind reward."
            )
        tokens = as_trained(scores)

        def ask(questions: Sequence[Question]) -> list[float | Failed]:
            return [s if isinstance(s, Failed) else _sigmoid(s) for s in scored(questions, scores, tokens)]

        return ask


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else 1 - 1 / (1 + math.exp(x))
