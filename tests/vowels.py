"""Judges by vowels, for tests: named on command lines of processes that import them."""

from typing import Any


def brief(prompt: Any, answer: str) -> float:
    """The fewer vowels the better; of words with an x it cannot say."""
    del prompt
    if "x" in answer:
        raise ValueError("I cannot read an x")
    return -float(sum(answer.count(vowel) for vowel in "aeiou"))


def mute(prompt: Any, answer: str) -> float:
    """Cannot read anything."""
    raise ValueError(f"no glasses for {prompt!r}, {answer!r}"[:14])


def rounder(prompt: Any, a: str, b: str) -> float:
    """P(a beats b): o beats e, e beats a, a beats o."""
    del prompt
    first, second = (max("aeo", key=text.count) for text in (a, b))
    beats = {("o", "e"), ("e", "a"), ("a", "o")}
    return 0.5 if first == second else 0.9 if (first, second) in beats else 0.1
