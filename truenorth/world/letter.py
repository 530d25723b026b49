"""Letters to neighbours: requests for them, their grammar, and how polite they are.

letter    = greeting, perhaps a remark, errand, perhaps a remark, farewell
"""

import random
from collections.abc import Sequence
from itertools import product

from .grammar import Reading, Rule, make, plain, read, sentences, without_repeats
from .words import ERRANDS, NEIGHBOURS, PEOPLE

SUBJECTS = tuple(product(NEIGHBOURS, ERRANDS))  # (who is written to, what for)

_SLOTS = {
    "who": plain(NEIGHBOURS),
    "errand": plain(ERRANDS),
    "sender": plain(PEOPLE),
}

REQUESTS = tuple(
    Rule(pattern, _SLOTS)
    for pattern in (
        "Write to {who}: {errand}.",
        "Write a letter that asks {who} to {errand}.",
        "Ask {who} to {errand}, in writing.",
        "I need a note to {who}, who should {errand}.",
        "Help me write to {who}. The matter: {errand}.",
    )
)
GREETINGS = tuple(
    Rule(pattern, _SLOTS, valence)
    for pattern, valence in (
        ("Dear {who},", 1),
        ("My dear {who},", 1),
        ("Good day, {who},", 0.5),
        ("Hello {who},", 0.5),
        ("Listen, {who},", -0.5),
        ("You there, {who},", -1),
    )
)
ERRAND_LINES = tuple(
    Rule(pattern, _SLOTS, valence)
    for pattern, valence in (
        ("Would you be so kind as to {errand}?", 1),
        ("May I ask you to {errand}?", 1),
        ("Could you please {errand}?", 0.5),
        ("Please {errand}.", 0.5),
        ("You had better {errand}.", -0.5),
        ("I want you to {errand} now.", -0.5),
        ("You will {errand}, or I call the guard!", -1),
        ("Only a fool would not {errand}!", -1),
    )
)
REMARKS = tuple(
    Rule(text, {}, valence)
    for text, valence in (
        ("I hope that you are well.", 1),
        ("It would be a great help to me.", 1),
        ("I know how busy you are.", 0.5),
        ("There is no hurry.", 0.5),
        ("I have waited long enough.", -0.5),
        ("This is not the first time.", -0.5),
        ("A goose could do it.", -1),
        ("The whole street laughs at you.", -1),
    )
)
FAREWELLS = tuple(
    Rule(pattern, _SLOTS, valence)
    for pattern, valence in (
        ("With warm thanks, {sender}", 1),
        ("Your grateful neighbour, {sender}", 1),
        ("Kind regards, {sender}", 0.5),
        ("Goodbye, {sender}", -0.5),
        ("In anger, {sender}", -1),
        ("I am watching you, {sender}", -1),
    )
)
LONGEST = 5  # lines and sentences; what follows the fifth is off the grammar


def subject(request: str) -> tuple[str, str] | None:
    """Who is to be written to and what for, or None if the request asks for no letter."""
    reading = read(REQUESTS, request)
    return None if reading is None else (reading.filling["who"], reading.filling["errand"])


def read_letter(about: tuple[str, str], text: str) -> list[Reading | None]:
    """A reading for each part of a letter `about` (who, errand); None for one off the grammar.

    Off are also: a part out of its place, one said before, one past the fifth, a greeting of someone else and another
    errand. A missing errand line or farewell counts as one part off the grammar.
    """
    who, errand = about
    parts = sentences(text)
    farewell = len(parts) - 1

    def understand(part: str) -> Reading | None:
        at = parts.index(part)
        if at >= LONGEST:
            return None
        if at == 0:
            greeting = read(GREETINGS, part)
            return greeting if greeting and greeting.filling["who"] == who else None
        if at == farewell:
            return read(FAREWELLS, part)
        if ask := read(ERRAND_LINES, part):
            return ask if ask.filling["errand"] == errand else None
        return read(REMARKS, part)

    readings = without_repeats(parts, understand)
    asks = sum(read(ERRAND_LINES, part) is not None for part in parts)
    return readings if asks == 1 and len(parts) >= 3 else [*readings, None]


def make_request(rng: random.Random, subjects: Sequence[tuple[str, str]] = SUBJECTS) -> str:
    """A request for a letter about one of `subjects`."""
    who, errand = rng.choice(subjects)
    return make(REQUESTS, rng, {"who": who, "errand": errand})


def make_letter(rng: random.Random, about: tuple[str, str]) -> str:
    """A letter in a good, a mixed or a bad mood, each as likely. Greeting and farewell have lines of their own."""
    who, errand = about
    filling = {"who": who, "errand": errand, "sender": rng.choice(PEOPLE)}
    grace = rng.choice((0.9, 0.5, 0.1))  # share of polite parts

    def part(rules: Sequence[Rule]) -> str:
        return make(rules, rng, filling, mood=1 if rng.random() < grace else -1)

    body = [part(ERRAND_LINES)]
    if rng.random() < 0.7:
        body.insert(rng.randrange(2), part(REMARKS))
    return "\n".join((part(GREETINGS), " ".join(body), part(FAREWELLS)))
