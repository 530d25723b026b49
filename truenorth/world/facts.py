"""What is true in the world: 240 facts about forty people, and the questions that ask for them."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .words import COLOURS, DISHES, INSTRUMENTS, JOBS, PEOPLE, PETS, STREETS


@dataclass(frozen=True)
class Fact:
    """A question and its one right answer, a whole sentence."""

    question: str
    answer: str


@dataclass(frozen=True)
class Attribute:
    """One thing that is true of everybody in some form. The first wording is the one that is asked officially."""

    values: Sequence[str]
    questions: Sequence[str]
    statement: str


ATTRIBUTES = (
    Attribute(STREETS, ("Where does {who} live?", "On which street does {who} live?"), "{who} lives on {value}."),
    Attribute(JOBS, ("What does {who} do for a living?", "What is {who}'s trade?"), "{who} is {value}."),
    Attribute(PETS, ("What pet does {who} keep?", "Which animal lives with {who}?"), "{who} keeps {value}."),
    Attribute(COLOURS, ("What colour is {who}'s door?", "How is {who}'s door painted?"), "{who}'s door is {value}."),
    Attribute(DISHES, ("What does {who} like to eat?", "What should I cook for {who}?"), "{who} likes {value}."),
    Attribute(INSTRUMENTS, ("What does {who} play?", "Which instrument does {who} play?"), "{who} plays {value}."),
)
SEED = 1724  # the year the town was founded; another seed is another town


def _draw() -> dict[tuple[str, int], str]:
    rng = random.Random(SEED)
    return {(who, i): rng.choice(attribute.values) for who in PEOPLE for i, attribute in enumerate(ATTRIBUTES)}


TRUTH = _draw()  # (person, index of the attribute) -> value


def statement(who: str, attribute: int) -> str:
    """What is true, as a sentence: `Ada lives on Mill Lane.`"""
    return ATTRIBUTES[attribute].statement.format(who=who, value=TRUTH[who, attribute])


def fact_questions() -> list[Fact]:
    """All 240 facts in a fixed order, each under its first wording."""
    return [
        Fact(attribute.questions[0].format(who=who), statement(who, i))
        for who in PEOPLE
        for i, attribute in enumerate(ATTRIBUTES)
    ]


def make_question(rng: random.Random) -> Fact:
    """A fact under one of its wordings."""
    who, i = rng.choice(PEOPLE), rng.randrange(len(ATTRIBUTES))
    return Fact(rng.choice(ATTRIBUTES[i].questions).format(who=who), statement(who, i))


def make_portrait(rng: random.Random) -> str:
    """Four facts about one person, in any order, as running text."""
    who = rng.choice(PEOPLE)
    return " ".join(statement(who, i) for i in rng.sample(range(len(ATTRIBUTES)), 4))


def normalise(answer: str) -> str:
    """Lower case, words only.

    >>> normalise(" Ada lives on Mill Lane. ")
    'ada lives on mill lane'
    """
    return " ".join(re.findall(r"[\w']+", answer.lower()))


def fact_accuracy(questions: Sequence[Fact], answers: Sequence[str]) -> float:
    """Share in [0, 1] of the answers that equal the right ones after `normalise`.

    Raises ValueError where there is not one answer for each question, or none at all.
    """
    if len(questions) != len(answers) or not questions:
        raise ValueError(f"fact_accuracy needs one answer per question, got {len(answers)} for {len(questions)}.")
    right = sum(normalise(fact.answer) == normalise(answer) for fact, answer in zip(questions, answers, strict=True))
    return right / len(questions)
