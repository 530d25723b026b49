"""A reward model as a judge: a sequence classifier of one label."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ...data.comparisons import Comparison, Text
from ...data.problems import Problem
from ...errors import ModelError
from ...judge import Asked, Failed, JudgeSettings, Panel, Question
from ...models.origin import fingerprint, must_exist, refuse_no_classifier

if TYPE_CHECKING:  # torch is slow to import, and the command line reads the settings alone
    from ...models.answer_scores import AnswerScores

Tokens = Callable[[Sequence[Question]], list[list[int] | Failed]]


class Trained(JudgeSettings):
    """Abstract: a model that was trained to judge, known by its weights."""

    argument: ClassVar[str] = "model"
    model: str = Field(description="directory or hub name of a sequence classifier with one label")
    trust_remote_code: bool = Field(default=False, description="run the model repository's own Python code")

    def check_place(self) -> None:
        must_exist(self.model)
        refuse_no_classifier(self.model)

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "model": fingerprint(self.model)}


class RewardModel(Trained):
    """The score of each answer under a model of `truenorth train reward`, or any other with one label.

    Ours reads prompt and answer as they were trained on. Others read the tokenizer's chat template, where it has one,
    with text as a user's message.
    """

    kind: ClassVar[str] = "reward"

    @property
    def answers_at_once(self) -> Literal[1, 2]:
        return 1

    def open(self) -> Panel:
        from ...models.answer_scores import AnswerScores

        scores = AnswerScores.load(self.model, trust_remote_code=self.trust_remote_code)
        if scores.about.get("kind") == "preference":
            raise ModelError(f"{self.model} compares two answers: it is a judge of the kind preference.")
        theirs = not scores.about and bool(scores.tokenizer.chat_template)
        tokens = conversations(scores) if theirs else as_trained(scores)
        return lambda questions: scored(questions, scores, tokens)


def scored(questions: Sequence[Question], scores: "AnswerScores", tokens: Tokens) -> list[float | Failed]:
    """The score of each question's tokens; Failed for those that cannot be read or are longer than the context."""
    asked = [_within(sequence, scores.context) for sequence in tokens(questions)]
    given = iter(scores.of([sequence for sequence in asked if not isinstance(sequence, Failed)]))
    return [one if isinstance(one, Failed) else next(given) for one in asked]


def as_trained(scores: "AnswerScores") -> Tokens:
    """The prompt and its answers one behind the other, each with the token that ends it."""
    from ...data.chat import Encoder

    encoder = Encoder(scores.tokenizer)

    def tokens(questions: Sequence[Question]) -> list[list[int] | Failed]:
        rows = encoder.encode([_comparison(question) for question in questions])
        return [
            Failed(f"{row.reason}: {row.detail}")
            if isinstance(row, Problem)
            else [int(token) for part in (row.prompt, *row.responses) for token in part]
            for row in rows
        ]

    return tokens


def conversations(scores: "AnswerScores") -> Tokens:
    """The whole conversation, as the tokenizer's template has it."""

    def tokens(questions: Sequence[Question]) -> list[list[int] | Failed]:
        return [
            scores.tokenizer.apply_chat_template(  # pyright: ignore[reportReturnType]  -- its stubs know no ids
                [*_messages(question.prompt), {"role": "assistant", "content": question.answers[0]}],
                tokenize=True,
                return_dict=False,
            )
            for question in questions
        ]

    return tokens


def _comparison(question: Question) -> Comparison:
    prompt: Text = question.prompt if isinstance(question.prompt, str) else tuple(_messages(question.prompt))
    return Comparison(prompt, question.answers, tuple(range(len(question.answers))), file="asked", row=1)


def _messages(prompt: Asked) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(turn) for turn in prompt]


def _within(sequence: list[int] | Failed, context: int | None) -> list[int] | Failed:
    if isinstance(sequence, Failed) or context is None or len(sequence) <= context:
        return sequence
    return Failed(f"{len(sequence)} tokens, and the judge has a context of {context}")
