"""What findings advise, taken together: no setting is turned two ways on one page."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .evidence import Finding

LEVELS = ("problem", "watch", "good")
OR = ", or "  # between the ways of a finding's `setting`
LENGTH = ("steps", "--epochs", "--max-steps", "--rounds", "--stream-idle")  # all of them say how long a run is
ABOVE = "what is advised above of the same settings, first"
_TURNS = re.compile(r"(?:\w+er|more) (--[a-z-]+|steps)|(--(?!set )[a-z-]+)(?: [\w.-]+)?|--set ([\w.]+)=\S+")


def turns(way: str) -> dict[str, str]:
    """The settings that a way turns, and how it does.

    >>> turns("--set update.max_grad_norm=12, with --learning-rate 5e-7 (now 1e-6)")
    {'update.max_grad_norm': '--set update.max_grad_norm=12', '--learning-rate': '--learning-rate 5e-7'}
    >>> turns("fewer steps (--epochs, --max-steps)"), turns("a higher --learning-rate")
    ({'steps': 'fewer steps'}, {'--learning-rate': 'higher --learning-rate'})
    """
    found = dict[str, str]()
    for match in _TURNS.finditer(way):
        name = next(filter(None, match.groups()))
        found.setdefault("steps" if name in LENGTH else name, match.group().rstrip(","))
    return found


def settled(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, problems first, of which none advises another value of a setting than one before it does.

    Where nothing else is left of an advice, it is to follow the others' first.
    """
    said = dict[str, str]()  # of each setting, how it is turned
    return [
        replace(finding, setting=_agreed(finding.setting.split(OR), said)) if finding.setting else finding
        for finding in sorted(findings, key=lambda finding: LEVELS.index(finding.level))
    ]


def _agreed(ways: Sequence[str], said: dict[str, str]) -> str:
    """The ways that turn nothing otherwise than is `said`, to which they are added."""
    kept = list[str]()
    for way in dict.fromkeys(ways):
        if all(said.get(name, how) == how for name, how in turns(way).items()):
            said |= turns(way)
            kept.append(way)
    return OR.join(kept) or ABOVE
