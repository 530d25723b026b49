"""Rules that make sentences and read them back, with the valence of what they say.

A valence is a number in [-1, 1]: what a reader would feel, by the grammar's own word. None says nothing either way.
Whatever a rule makes, it reads back with the same valence; whatever no rule reads is off the grammar.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

Words = Mapping[str, float | None]  # what may fill a slot, with its valence
Filling = Mapping[str, str]  # slot -> the words in it


GRADES = (1.0, 0.5, -0.5, -1.0)


def plain(words: Sequence[str] | str) -> Words:
    """Words that say nothing either way; as one string, with commas between them."""
    return dict.fromkeys(words.split(", ") if isinstance(words, str) else words)


def graded(*words: str) -> Words:
    """Four lists of words, with commas between them: what delights, pleases, displeases and offends.

    >>> graded("superb, perfect", "fresh", "stale", "burnt, awful")["stale"]
    -0.5
    """
    return {word: grade for grade, group in zip(GRADES, words, strict=True) for word in group.split(", ")}


@dataclass(frozen=True)
class Reading:
    """What a rule understood of a sentence."""

    valence: float | None  # in [-1, 1]
    filling: Filling


@dataclass(frozen=True)
class Rule:
    """A pattern with slots, and the valence of the pattern itself.

    >>> rule = Rule("the soup was {taste}", {"taste": {"superb": 1.0, "cold": -0.5}})
    >>> rule.read("the soup was cold").valence
    -0.5
    >>> rule.read("the soup was blue") is None
    True
    """

    pattern: str
    slots: Mapping[str, Words]
    valence: float | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The slots of the pattern, in order."""
        return tuple(re.findall(r"{(\w+)}", self.pattern))

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        parts = re.split(r"{(\w+)}", self.pattern)
        for i, part in enumerate(parts):
            if i % 2:
                # Longest first: "very good" must not be read as "very".
                words = sorted(self.slots[part], key=len, reverse=True)
                parts[i] = f"(?P<{part}>{'|'.join(map(re.escape, words))})"
            else:
                parts[i] = re.escape(part)
        return re.compile("".join(parts))

    def fill(self, filling: Filling) -> str:
        """The sentence with these words in its slots."""
        return self.pattern.format_map(filling)

    def valence_of(self, filling: Filling) -> float | None:
        """The mean of the pattern's own valence and its words', or None where none of them says anything."""
        said = [self.valence, *(self.slots[name][filling[name]] for name in self.names)]
        return mean([value for value in said if value is not None])

    def read(self, sentence: str) -> Reading | None:
        """What the sentence says, or None if this rule does not make it."""
        match = self._regex.fullmatch(sentence)
        if match is None:
            return None
        filling = match.groupdict()
        return Reading(self.valence_of(filling), filling)

    def make(self, rng: random.Random, given: Filling | None = None, *, mood: int | None = None) -> str | None:
        """A sentence with `given` words where given, of the mood's sign if there is one (0: says nothing).

        None where the rule has no such sentence.
        """
        filling = dict(given or {})
        for name in self.names:
            if name not in filling:
                words = [word for word, valence in self.slots[name].items() if _suits(valence, mood)]
                if not words:
                    return None
                filling[name] = rng.choice(words)
        return self.fill(filling) if mood is None or _sign(self.valence_of(filling)) == mood else None


def _sign(valence: float | None) -> int:
    return 0 if valence is None else (valence > 0) - (valence < 0)


def _suits(valence: float | None, mood: int | None) -> bool:
    return mood is None or valence is None or _sign(valence) == mood


def mean(values: Sequence[float]) -> float | None:
    """The mean, or None of nothing."""
    return sum(values) / len(values) if values else None


def make(rules: Sequence[Rule], rng: random.Random, given: Filling | None = None, *, mood: int | None = None) -> str:
    """A sentence of one of the rules, each as likely as the next among those that have one of this mood."""
    for rule in rng.sample(rules, len(rules)):
        sentence = rule.make(rng, given, mood=mood)
        if sentence is not None:
            return sentence
    raise ValueError(f"none of {len(rules)} rules has a sentence of mood {mood}")


def read(rules: Sequence[Rule], sentence: str) -> Reading | None:
    """What the first rule that makes this sentence understands of it, or None if none makes it."""
    return next((reading for rule in rules if (reading := rule.read(sentence)) is not None), None)


def sentences(text: str) -> list[str]:
    """The text cut after each full stop, question or exclamation mark, and at line breaks.

    >>> sentences("Never again. Go elsewhere!")
    ['Never again.', 'Go elsewhere!']
    """
    return [part for part in re.split(r"(?<=[.!?]) |\n", text.strip()) if part]


def without_repeats(texts: Sequence[str], understand: Callable[[str], Reading | None]) -> list[Reading | None]:
    """A reading for each sentence. One that was said before, word for word, is off the grammar (None)."""
    return [None if text in texts[:i] else understand(text) for i, text in enumerate(texts)]


def capital(text: str) -> str:
    """The text with its first letter large: `the Blue Fox` -> `The Blue Fox`."""
    return text[:1].upper() + text[1:]
