"""What is true of an answer, by the grammar that the world is made of: exact, pure, without a model.

A prompt is the request as a string, or a conversation whose last user message is the request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import letter, review, tale
from .grammar import Reading, mean, sentences
from .tale import Style

Prompt = str | Sequence[Mapping[str, str]]

OFF_GRAMMAR = -1.0  # the valence of a sentence that the grammar does not make: gibberish is as bad as an insult
# P(row beats column). The paper beats the fable, the fable beats verse, and verse beats the paper.
WINS: Mapping[Style, Mapping[Style, float]] = {
    "fable": {"fable": 0.5, "gazette": 0.1, "verse": 0.8},
    "gazette": {"fable": 0.9, "gazette": 0.5, "verse": 0.1},
    "verse": {"fable": 0.2, "gazette": 0.9, "verse": 0.5},
}
# Styles' shares that no other mixture beats on average: each in proportion to the win that leaves it out.
EQUILIBRIUM: Mapping[Style, float] = {"fable": 4 / 11, "gazette": 3 / 11, "verse": 4 / 11}
WINS_OVER_OFF_GRAMMAR = 0.99  # P(a tale beats what is none). Not 1, so that its log odds stay finite


@dataclass(frozen=True)
class Judged:
    """A sentence of an answer, as the oracle sees it."""

    sentence: str
    valence: float | None  # in [-1, 1], None: says nothing either way
    grammatical: bool


def request_of(prompt: Prompt) -> str:
    """The last user message, or the string itself."""
    if isinstance(prompt, str):
        return prompt
    users = [message["content"] for message in prompt if message["role"] == "user"]
    if not users:
        raise ValueError(f"a prompt of messages needs one by the user, got roles {[m['role'] for m in prompt]}.")
    return users[-1]


def _no(kind: str, prompt: Prompt) -> ValueError:
    return ValueError(f"the world knows no request for a {kind} that reads {request_of(prompt)!r}.")


def _judge(text: str, readings: Sequence[Reading | None]) -> list[Judged]:
    # A part that is missing has a reading (None) and no sentence.
    parts = [*sentences(text), *[""] * len(readings)][: len(readings)]
    return [
        Judged(part, OFF_GRAMMAR if reading is None else reading.valence, reading is not None)
        for part, reading in zip(parts, readings, strict=True)
    ]


def _mean_valence(judged: Sequence[Judged]) -> float:
    """Over the sentences that judge; 0 where all are neutral, that of gibberish where there are none."""
    if not judged:
        return OFF_GRAMMAR
    return mean([sentence.valence for sentence in judged if sentence.valence is not None]) or 0.0


def judged_review(prompt: Prompt, response: str) -> list[Judged]:
    """Each sentence of a review with its valence. Raises ValueError if the prompt asks for no review."""
    place = review.subject(request_of(prompt))
    if place is None:
        raise _no("review", prompt)
    return _judge(response, review.read_review(place, response))


def judged_letter(prompt: Prompt, response: str) -> list[Judged]:
    """Each part of a letter with its politeness. Raises ValueError if the prompt asks for no letter."""
    about = letter.subject(request_of(prompt))
    if about is None:
        raise _no("letter", prompt)
    return _judge(response, letter.read_letter(about, response))


def review_reward(prompt: Prompt, response: str) -> float:
    """How well the review speaks of the place, in [-1, 1]: the mean valence of its sentences that judge.

    >>> review_reward("Write a review of the Blue Fox.", "What a gem the Blue Fox is! The soup was cold.")
    0.25
    >>> review_reward("Write a review of the Blue Fox.", "soup soup soup")
    -1.0
    """
    return _mean_valence(judged_review(prompt, response))


def letter_reward(prompt: Prompt, response: str) -> float:
    """How polite the letter is, in [-1, 1]: the mean valence of its parts.

    >>> letter_reward("Write to Mr Finch: fix the roof.", "Dear Mr Finch,\\nPlease fix the roof.\\nGoodbye, Ada")
    0.3333333333333333
    """
    return _mean_valence(judged_letter(prompt, response))


def reward(prompt: Prompt, response: str) -> float:
    """The reward in [-1, 1] of the domain that the prompt belongs to: reviews or letters.

    Raises ValueError if it belongs to neither.
    """
    request = request_of(prompt)
    if review.subject(request) is not None:
        return review_reward(request, response)
    if letter.subject(request) is not None:
        return letter_reward(request, response)
    raise _no("review or letter", prompt)


def tale_style(prompt: Prompt, response: str) -> Style | None:
    """The style of a tale, or None: no whole tale about the hero that was asked for."""
    hero = tale.subject(request_of(prompt))
    if hero is None:
        raise _no("tale", prompt)
    return tale.style_of(hero, response)


def tale_wins(prompt: Prompt, a: str, b: str) -> float:
    """P(a beats b) in [0.01, 0.99]; `tale_wins(p, a, b) + tale_wins(p, b, a) == 1`, and 0.5 within a style.

    No style is best. Off the grammar loses to every style.
    """
    first, second = tale_style(prompt, a), tale_style(prompt, b)
    if first is None or second is None:
        return 0.5 if first == second else WINS_OVER_OFF_GRAMMAR if first else 1 - WINS_OVER_OFF_GRAMMAR
    return WINS[first][second]


def grammatical(prompt: Prompt, response: str) -> bool:
    """Whether the whole answer is one that the grammar could make to this request.

    Raises ValueError if the request is none for a review, a letter or a tale.
    """
    request = request_of(prompt)
    if tale.subject(request) is not None:
        return tale_style(request, response) is not None
    judge = judged_review if review.subject(request) is not None else judged_letter
    judged = judge(request, response)
    return bool(judged) and all(sentence.grammatical for sentence in judged)
