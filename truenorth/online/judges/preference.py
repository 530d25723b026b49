"""A pairwise preference model as a judge."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from ...errors import ModelError
from ...judge import Failed, Panel, Question, sigmoid
from .reward import Trained, as_trained, scored


class PreferenceModel(Trained):
    """P(first beats second) under a model of `truenorth train preference`, which is asked in both orders.

    It reads the prompt and both answers one behind the other, each with the token that ends it; its one number is the
    log odds that the first wins.
    """

    kind: ClassVar[str] = "preference"

    @property
    def answers_at_once(self) -> Literal[1, 2]:
        return 2

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
            return [s if isinstance(s, Failed) else sigmoid(s) for s in scored(questions, scores, tokens)]

        return ask
