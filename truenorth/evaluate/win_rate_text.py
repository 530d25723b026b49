"""A win rate in words, for the terminal and the page."""

from rich.table import Table

from ..train.evidence import short
from .intervals import Interval
from .win_rate import WinRate


def headline(found: WinRate, ours: str, theirs: str) -> str:
    """Who wins, and whether that is sure."""
    rate = found.raw
    how = "beats" if rate.low > 0.5 else "loses to" if rate.high < 0.5 else "cannot be told from"
    return f"{ours} {how} {theirs}: {told(rate)} of the wins"


def told(found: Interval) -> str:
    """A share with its interval, in percent to one digit.

    >>> told(Interval(0.5, 0.4, 0.6, 9)).replace(chr(0x202f), " ")
    '50.0 % (40.0 to 60.0)'
    """
    text = f"{100 * found.value:.1f}\u202f% ({100 * found.low:.1f} to {100 * found.high:.1f})"
    return text.replace("-", "\u2212")


def rows(found: WinRate) -> list[tuple[str, str, str]]:
    """(what, win rate, beside it) of everything that is counted."""
    lengths = f"{short(found.our_length)} characters against {short(found.their_length)}, on average"
    named = [
        ("win rate", told(found.raw), f"{found.won} won, {found.even} even, {found.lost} lost"),
        ("at equal lengths", told(found.controlled), lengths),
    ]
    for bucket in found.buckets:
        if bucket.win is not None:
            named.append((f"ours {bucket.name}", told(bucket.win), f"{bucket.count} prompts"))
    return named


def draw(found: WinRate, ours: str, theirs: str) -> Table:
    """As a table."""
    table = Table(
        box=None, pad_edge=False, title=headline(found, ours, theirs), title_justify="left", show_header=False
    )
    for what, rate, more in rows(found):
        table.add_row(what, rate, more)
    for reason, count in found.left_out.items():
        table.add_row("left out", f"{count} prompts", reason, style="yellow")
    return table
