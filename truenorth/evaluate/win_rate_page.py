"""A win rate on one page: who wins, by which lengths, and answers to prompts that were won and lost."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..files import write_text
from ..judge import Asked
from .dots import dots
from .page import environment, flat
from .win_rate import Match, WinRate
from .win_rate_text import headline, rows

EXAMPLES = 4  # prompts of each outcome
SEED = 0  # of their draw


def write_page(found: WinRate, matches: Sequence[Match], about: Mapping[str, Any], out: Path) -> Path:
    """Write the page to the file `out`, and give its path. `about` names `model`, `against` and how it was done."""
    ours, theirs = str(about["model"]), str(about["against"])
    pictured = [("win rate", found.raw), ("at equal lengths", found.controlled)]
    pictured += [(f"ours {b.name} ({b.count})", b.win) for b in found.buckets if b.win is not None]
    page = environment().get_template("win_rate.html.j2").render(
        headline=headline(found, ours, theirs),
        found=found,
        rows=rows(found),
        picture=Markup(dots("Win rate", pictured, level=0.5)),
        names=(ours, theirs),
        examples=[(name, examples(matches, name)) for name in ("won", "lost", "even")],
        settings=flat(about),
    )  # fmt: skip
    write_text(out, page)
    return out


def examples(matches: Sequence[Match], outcome: str) -> list[tuple[str, str, str, float]]:
    """(prompt, our first answer, their first, win) of some prompts of this outcome, drawn and not chosen."""
    of = [m for m in matches if outcome == ("won" if m.win > 0.5 else "lost" if m.win < 0.5 else "even")]
    drawn = random.Random(SEED).sample(of, min(EXAMPLES, len(of)))
    return [(asked(m.prompt), m.ours[0], m.theirs[0], m.win) for m in drawn]


def asked(prompt: Asked) -> str:
    """A prompt as text: its messages one below the other."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0].get("content", ""))
    return "\n".join(f"{turn.get('role')}: {turn.get('content')}" for turn in prompt)
