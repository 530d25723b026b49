"""Reviews of the town's tables: requests for them, their grammar, and what they say of the place.

review = opening, one or two remarks, mostly a closing
remark = clause | clause ", and " clause (both praise or both blame) | praise ", but " blame
"""

import random
from collections.abc import Mapping, Sequence

from .grammar import Reading, Rule, capital, graded, make, mean, plain, read, sentences, without_repeats
from .words import DAYS, LANDMARKS, PEOPLE, PLACES

LONGEST = 5  # sentences; what follows the fifth is off the grammar

REQUESTS = tuple(
    Rule(pattern, {"place": plain(PLACES)})
    for pattern in (
        "Write a review of {place}.",
        "Please review {place} for the paper.",
        "How was your visit to {place}?",
        "What did you think of {place}?",
        "Tell me what {place} is like.",
        "Would you send a friend to {place}?",
        "We may dine at {place}. What do you say?",
        "Give me your honest view of {place}.",
    )
)

TOPICS = ("food", "staff", "room")  # the two clauses of a remark are about different ones
_FOOD = plain("soup, bread, pie, cake, stew, fish, tea, cheese, pudding, duck")
_STAFF = plain("waiter, cook, landlady, host, fiddler")
_ROOM = plain("room, garden, table, terrace, parlour")
_TASTE = graded("superb, perfect, very good", "fresh, well spiced", "stale, cold, too salty", "burnt, awful")
_MANNER = graded("charming, kind", "polite, quick", "slow, gloomy", "rude, half asleep")
_AIR = graded("lovely, cosy", "clean, sunny", "dusty, noisy", "filthy, freezing")
_DEED = graded("made us laugh, knew us by name", "brought us more bread", "forgot us, spilt the wine", "shouted at us")
_VERDICT = graded("loved, enjoyed", "liked", "left", "regretted, sent back")
_WORTH = graded("gem, joy", "treat", "muddle, letdown", "disgrace, swindle")

# What joins two clauses, and whether each of them praises.
JOINS: Mapping[str, tuple[tuple[bool, ...], ...]] = {
    ", and ": ((True, True), (False, False)),
    ", but ": ((True, False),),
}

CLAUSES = (
    Rule("the {food} was {taste}", {"food": _FOOD, "taste": _TASTE}),
    Rule("the {staff} was {manner}", {"staff": _STAFF, "manner": _MANNER}),
    Rule("the {room} was {air}", {"room": _ROOM, "air": _AIR}),
    Rule("the {staff} {deed}", {"staff": _STAFF, "deed": _DEED}),
    Rule("we {verdict} the {food}", {"verdict": _VERDICT, "food": _FOOD}),
)
_PLACE = plain(PLACES)
OPENINGS = (
    Rule("We went to {place} on {day}.", {"place": _PLACE, "day": plain(DAYS)}),
    Rule("I took {friend} to {place}.", {"place": _PLACE, "friend": plain(PEOPLE)}),
    Rule("You find {place} by {landmark}.", {"place": _PLACE, "landmark": plain(LANDMARKS)}),
    Rule("I call {place} a {worth}.", {"place": _PLACE, "worth": _WORTH}),
    Rule("What a {worth} {place} is!", {"place": _PLACE, "worth": _WORTH}),
)
CLOSINGS = (
    Rule("It is closed on {day}.", {"day": plain(DAYS)}),
    Rule(
        "{advice}.",
        {
            "advice": graded(
                "We will be back, Go while you can, I would go again tomorrow",
                "It is worth the walk, You could do worse",
                "Bring your own bread, You could do better",
                "Never again, Save your money, I would rather go hungry",
            )
        },
    ),
)


def subject(request: str) -> str | None:
    """The place that a request asks about, or None if it asks for no review."""
    reading = read(REQUESTS, request)
    return None if reading is None else reading.filling["place"]


def _remark(text: str) -> Reading | None:
    """One clause, or two about different things that are joined as they should be."""
    body = text[:1].lower() + text[1:-1]
    if not text.endswith(".") or text != capital(body) + ".":
        return None
    for word, signs in JOINS.items():
        if word in body:
            said = [reading for clause in body.split(word, 1) if (reading := read(CLAUSES, clause))]
            valences = [reading.valence for reading in said if reading.valence]
            topics = {topic for reading in said for topic in TOPICS if topic in reading.filling}
            fits = tuple(value > 0 for value in valences) in signs and len(topics) == 2
            return Reading(mean(valences), {}) if fits else None
    return read(CLAUSES, body)


def read_review(place: str, text: str) -> list[Reading | None]:
    """A reading for each sentence of a review of `place`; None for one off the grammar.

    Off are also: a first sentence that does not open with the place, one said before, one past the fifth, an opening
    or a closing out of its place.
    """
    parts = sentences(text)
    last = len(parts) - 1

    def understand(sentence: str) -> Reading | None:
        at = parts.index(sentence)
        if at >= LONGEST:
            return None
        if at == 0:
            opening = read(OPENINGS, sentence)
            return opening if opening and opening.filling["place"] == place else None
        if at == last and (closing := read(CLOSINGS, sentence)):
            return closing
        return _remark(sentence)

    return without_repeats(parts, understand)


def make_request(rng: random.Random, places: Sequence[str] = PLACES) -> str:
    """A request for a review of one of `places`."""
    return make(REQUESTS, rng, {"place": rng.choice(places)})


def _make_remark(rng: random.Random, cheer: float) -> str:
    signs = [rng.random() < cheer for _ in range(rng.choice((1, 2)))]
    signs.sort(reverse=True)  # praise first, blame after it
    word = next((word for word, allowed in JOINS.items() if tuple(signs) in allowed), "")
    clauses = [
        make([rule for rule in CLAUSES if topic in rule.names], rng, mood=1 if praise else -1)
        for topic, praise in zip(rng.sample(TOPICS, len(signs)), signs, strict=True)
    ]
    return capital(word.join(clauses)) + "."


def make_review(rng: random.Random, place: str) -> str:
    """A review of the place, in a good, a mixed or a bad mood, each as likely as the others."""
    cheer = rng.choice((0.9, 0.5, 0.1))  # share of praise among what judges

    def mood() -> int:
        return 0 if rng.random() < 0.3 else 1 if rng.random() < cheer else -1

    parts = [make(OPENINGS, rng, {"place": place}, mood=mood())]
    while len(parts) < 2 or (len(parts) == 2 and rng.random() < 0.4):
        remark = _make_remark(rng, cheer)
        if remark not in parts:
            parts.append(remark)
    if rng.random() < 0.8:
        parts.append(make(CLOSINGS, rng, mood=mood()))
    return " ".join(parts)
