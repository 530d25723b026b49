"""Text for the two models, the same for the same seed: documents for the base, conversations for the SFT model."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from . import facts, letter, review, tale


@dataclass(frozen=True)
class Exchange:
    """A request and one answer to it."""

    request: str
    answer: str


def _question(rng: random.Random) -> Exchange:
    fact = facts.make_question(rng)
    return Exchange(fact.question, fact.answer)


def _review(rng: random.Random) -> Exchange:
    place = rng.choice(review.PLACES)
    return Exchange(review.make_request(rng, [place]), review.make_review(rng, place))


def _letter(rng: random.Random) -> Exchange:
    about = rng.choice(letter.SUBJECTS)
    return Exchange(letter.make_request(rng, [about]), letter.make_letter(rng, about))


def _tale(rng: random.Random) -> Exchange:
    hero = rng.choice(tale.HEROES)
    return Exchange(tale.make_request(rng, [hero]), tale.make_tale(rng, hero))


def _asked(rng: random.Random) -> str:
    exchange = _question(rng)
    return f"Q: {exchange.request} A: {exchange.answer}"


def _headed(exchange: Exchange, rng: random.Random) -> str:
    """The answer alone, or under its request: the base model meets requests, but in no chat's form."""
    return exchange.answer if rng.random() < 0.5 else f"{exchange.request}\n\n{exchange.answer}"


DOCUMENTS: Mapping[Callable[[random.Random], str], float] = {  # kind -> share of the base model's documents
    facts.make_portrait: 0.25,
    _asked: 0.15,
    lambda rng: _headed(_review(rng), rng): 0.25,
    lambda rng: _headed(_letter(rng), rng): 0.15,
    lambda rng: _headed(_tale(rng), rng): 0.2,
}
EXCHANGES: Mapping[Callable[[random.Random], Exchange], float] = {  # kind -> share of the SFT model's conversations
    _question: 0.2,
    _review: 0.35,
    _letter: 0.25,
    _tale: 0.2,
}


def documents(seed: int) -> Iterator[str]:
    """Documents without end for the base model: portraits and questions (facts), reviews, letters, tales."""
    rng = random.Random(seed)
    kinds, shares = list(DOCUMENTS), list(DOCUMENTS.values())
    while True:
        yield rng.choices(kinds, shares)[0](rng)


def exchanges(seed: int) -> Iterator[Exchange]:
    """Conversations without end for the SFT model: reviews and letters of every mood, tales of every style, facts."""
    rng = random.Random(seed)
    kinds, shares = list(EXCHANGES), list(EXCHANGES.values())
    while True:
        yield rng.choices(kinds, shares)[0](rng)
