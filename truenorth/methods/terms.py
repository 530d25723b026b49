"""Sums of methods as text: `dpo + 0.2*simpo`. Nothing here imports a method, nor torch."""

import re

from ..errors import SettingsError

_TERM = re.compile(r"(?:(?P<weight>[^*]+)\*)?(?P<name>[A-Za-z_][\w.:]*)")


def is_sum(method: str) -> bool:
    """Whether a method's name stands for a sum of several, or for a part of one.

    >>> is_sum("dpo + 0.2*simpo"), is_sum("dpo"), is_sum("my.module:recipe")
    (True, False, False)
    """
    return "+" in method or "*" in method


def terms_of(method: str) -> list[tuple[float, str]]:
    """Weight and name of each method in a sum; a name alone has weight 1. Raises SettingsError for anything else.

    >>> terms_of("dpo + 0.2 * simpo")
    [(1.0, 'dpo'), (0.2, 'simpo')]
    """
    return [_term(text.replace(" ", ""), method) for text in re.split(r"(?<![0-9.][eE])\+", method)]


def names_of(method: str) -> list[str]:
    """The methods in a sum, or the one that it is."""
    return [name for _, name in terms_of(method)] if is_sum(method) else [method]


def _term(text: str, method: str) -> tuple[float, str]:
    found = _TERM.fullmatch(text)
    try:
        weight = float((found and found["weight"]) or 1.0)
    except ValueError:
        found, weight = None, 0.0
    if found is None or not 0 < weight < float("inf"):
        raise SettingsError(
            f"{method!r} is no sum of methods: {text!r} should be a method, or a weight above 0 times a method, as in "
            "'dpo + 0.2*simpo'."
        )
    return weight, found["name"]
