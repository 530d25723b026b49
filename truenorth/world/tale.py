"""Tales in three styles that beat each other in a circle, as in rock, paper, scissors.

fable     a find, a fault, and a moral              beaten by the gazette
gazette   what the town's paper would make of it    beaten by verse
verse     two couplets                              beaten by the fable
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .grammar import Reading, Rule, Words, make, plain, read, sentences
from .words import HEROES, LANDMARKS, PEOPLE, TOWN

Style = Literal["fable", "gazette", "verse"]
STYLES: tuple[Style, ...] = ("fable", "gazette", "verse")

_HERO = plain(HEROES)
REQUESTS = tuple(
    Rule(pattern, {"hero": _HERO})
    for pattern in (
        "Tell me a tale about {hero}.",
        "Do you know a tale of {hero}?",
        "The children want to hear about {hero}.",
        "Make up something about {hero}.",
    )
)

_SLOTS: Mapping[str, Words] = {
    "hero": _HERO,
    "Hero": plain([hero.capitalize() for hero in HEROES]),
    "landmark": plain(LANDMARKS),
    "person": plain(PEOPLE),
    "find": plain("a silver coin, a golden ring, a ripe plum, a lost key, a red hat, a jar of honey"),
    "fault": plain(
        "would not share it, hid it from the crow, showed it to every thief, lost it in a bet, boasted all day long, "
        "dropped it in the sea"
    ),
    "moral": plain(
        "share what you find, pride comes before the fall, a closed hand catches no rain, who boasts sleeps badly, "
        "luck likes a quiet mouth, look before you leap"
    ),
    "loss": plain("two pies, a wooden leg, six eggs, the church bell, a wig, all the herring"),
    "remark": plain(
        "Nobody was hurt, The guard has no clue, The mayor is not amused, A reward is offered, More on page two, "
        "It rained all day"
    ),
}
_COUPLETS = {
    "sea": "drank a pot of tea, danced till half past three",
    "mill": "rolled a barrel up the hill, watched the moon till all was still",
    "town": "wore a paper crown, bought a yellow gown",
    "fair": "combed a lion's hair, won a dancing bear",
    "lake": "ate the captain's cake, sang to keep the fish awake",
}
_LAST = (
    "The stars came out, the wind blew low, and home to bed we all must go.",
    "The day was long, the night was deep, and now the whole town is asleep.",
    "The bells rang one, the bells rang two, and every word of this is true.",
    "The fiddle played, the candle burned, and not a thing was ever learned.",
    "The kettle sang, the rain came down, and all was well in Brindle town.",
)


@dataclass(frozen=True)
class Form:
    """What a style is made of: a sentence of each in turn."""

    opening: Sequence[Rule]  # names the hero
    middle: Sequence[Rule]  # () where the style has none
    ending: Sequence[Rule]


def _rules(*patterns: str) -> tuple[Rule, ...]:
    return tuple(Rule(pattern, _SLOTS) for pattern in patterns)


FORMS: Mapping[Style, Form] = {
    "fable": Form(
        _rules("Once {hero} found {find} by {landmark}.", "Long ago {hero} stole {find} from {person}."),
        _rules("The fool {fault}.", "But the poor thing {fault}."),
        _rules("Moral: {moral}."),
    ),
    "gazette": Form(
        _rules(f"{TOWN} news: {{hero}} was seen at {{landmark}}.", f"{TOWN} news: {{hero}} robbed {{person}}."),
        _rules("{person} lost {loss}.", "{person} reports the loss of {loss}."),
        _rules("{remark}."),
    ),
    "verse": Form(
        tuple(
            Rule(f"{{Hero}} went to the {rhyme}, and there it {{deed}}.", _SLOTS | {"deed": plain(deeds)})
            for rhyme, deeds in _COUPLETS.items()
        ),
        (),
        _rules(*_LAST),
    ),
}


def subject(request: str) -> str | None:
    """The hero that a request asks about, or None if it asks for no tale."""
    reading = read(REQUESTS, request)
    return None if reading is None else reading.filling["hero"]


def _hero(opening: Reading | None) -> str | None:
    if opening is None:
        return None
    return opening.filling["hero"] if "hero" in opening.filling else opening.filling["Hero"].lower()


def style_of(hero: str, text: str) -> Style | None:
    """The style in which the text is a whole tale about `hero`, or None: it is off the grammar or about another."""
    parts = sentences(text)
    for style, form in FORMS.items():
        stages = [rules for rules in (form.opening, form.middle, form.ending) if rules]
        readings = [read(rules, part) for rules, part in zip(stages, parts, strict=False)]
        if len(parts) == len(stages) and None not in readings and _hero(readings[0]) == hero:
            return style
    return None


def make_request(rng: random.Random, heroes: Sequence[str] = HEROES) -> str:
    """A request for a tale about one of `heroes`."""
    return make(REQUESTS, rng, {"hero": rng.choice(heroes)})


def make_tale(rng: random.Random, hero: str, style: Style | None = None) -> str:
    """A tale about the hero in a style; none: each as likely as the others."""
    form = FORMS[style or rng.choice(STYLES)]
    given = {"hero": hero, "Hero": hero.capitalize()}
    return " ".join(make(rules, rng, given) for rules in (form.opening, form.middle, form.ending) if rules)
