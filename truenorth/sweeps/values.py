"""The values of a sweep, as one writes them on a command line."""

import re

import yaml

from ..errors import SettingsError

POINTS = 11  # of a range without a number of them
SPAN = re.compile(r"([-+.\deE]+)\.\.([-+.\deE]+?)(?::(\d+))?")


def values_of(text: str) -> tuple[str, list[object]]:
    """The setting and the values of `--sweep`: `alpha=0..1`, `alpha=0..1:5` or `alpha=0,0.3`.

    >>> values_of("alpha=-1..1:5")
    ('alpha', [-1.0, -0.5, 0.0, 0.5, 1.0])
    """
    name, equals, given = (part.strip() for part in text.partition("="))
    example = "Give it as alpha=0..1 (11 values), alpha=0..1:5 (5 of them) or alpha=0,0.1,0.3."
    if not (name and equals and given):
        raise SettingsError(f"--sweep takes NAME=VALUES, got {text!r}. {example}")
    if span := SPAN.fullmatch(given):
        try:
            low, high, count = float(span[1]), float(span[2]), int(span[3] or POINTS)
        except ValueError:
            raise SettingsError(f"--sweep {name}: {given!r} is no range of numbers. {example}") from None
        if count < 2 or low == high:
            raise SettingsError(
                f"--sweep {name}: a range has two ends and at least 2 values, got {given!r}. {example}"
            )
        # 12 digits: 0.3 and not 0.30000000000000004
        return name, [float(f"{low + (high - low) * i / (count - 1):.12g}") for i in range(count)]
    try:
        found = yaml.safe_load(f"[{given}]")
    except yaml.YAMLError as error:
        raise SettingsError(f"--sweep {name}: {given!r} is no list of values. {example}") from error
    if len(set(map(str, found))) < len(found):
        raise SettingsError(f"--sweep {name}: a value stands twice in {given!r}.")
    return name, found


def as_text(value: object) -> str:
    """A value in the name of a point, and of its folder.

    >>> as_text(0.30), as_text([1, 0.5])
    ('0.3', '[1,0.5]')
    """
    return f"{value:.12g}" if isinstance(value, float) else str(value).replace(" ", "").replace("/", "_")


def number_of(point: str) -> float | str:
    """The value in the name of a point: a number where it is one.

    >>> number_of("alpha=1e-05"), number_of("kind=mean")
    (1e-05, 'mean')
    """
    text = point.partition("=")[2]
    try:
        return float(text)
    except ValueError:
        return text


def by_size(value: float | str) -> tuple[bool, float]:
    """What sorts values: numbers by size, texts behind them as they come."""
    return (True, 0.0) if isinstance(value, str) else (False, value)
