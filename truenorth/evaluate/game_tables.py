"""`truenorth games` as text: what each solver reached, and of one of them its policy beside the equilibrium."""

from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..games import Played
from ..games.tournament import Tournament
from ..methods.contract import read
from ..train.evidence import short

MOST_ROWS = 20  # actions whose probabilities are listed


def draw(found: Tournament) -> RenderableType:
    """The tables of a tournament, and what their columns mean."""
    parts = [Text(headline(found), style="bold"), Text(""), _solvers(found)]
    if len(found.plays) == 1 and found.game.size <= MOST_ROWS:
        parts += [Text(""), _policies(found)]
    return Group(*parts, Text(f"\n{meaning(found)}", style="dim"))


def headline(found: Tournament) -> str:
    """What a tournament showed, in a sentence."""
    where = f"{found.game.name}, {found.game.size} actions, {found.steps:,} steps"
    if len(found.plays) == 1:
        (played,) = found.plays
        return (
            f"{played.solver.name} on {where}: exploitability {short(float(played.last_curve[-1]))}, "
            f"of its average {short(float(played.average_curve[-1]))}"
        )
    names = [played.solver.name for played in found.solved]
    if not names:
        return f"{where}: no solver's last policy stays below an exploitability of 1e-4"
    policies = "policy" if len(names) == 1 else "policies"
    return f"{where}: an exploitability below 1e-4 in the last {policies} of {listed(names)}"


def meaning(found: Tournament) -> str:
    """What is counted and measured, and what is known of the game's equilibria."""
    equilibria = {
        True: "It has one equilibrium.",
        False: "It has several equilibria; exploitability is 0 at each of them and nowhere else.",
        None: "Whether its equilibrium is the only one was not looked for.",
    }[found.unique]
    return (
        "Exploitability: by how much the best answer to a policy beats 1/2. A step: one policy's win rates against "
        f"all actions. {equilibria}"
    )


def title(played: Played) -> str:
    """What a solver is: the first words of its file."""
    import importlib

    return read(importlib.import_module(type(played.solver).__module__).__doc__ or "")["title"].partition(":")[0]


def settings(played: Played) -> str:
    """The settings that a solver has a value for, as --set takes them."""
    values = played.solver.model_dump(mode="json")
    return " ".join(f"{name}={value}" for name, value in values.items() if name != "kind" and value is not None)


def cells(played: Played) -> tuple[str, str, str, str]:
    """Exploitability of the last policy and of the average, the step from which it is below 1e-4, magnets."""
    below = played.steps_below(1e-4)
    return (
        short(float(played.last_curve[-1])),
        short(float(played.average_curve[-1])),
        "–" if below is None else f"{below:,}",
        f"{played.state.magnets:,}" if played.state.magnets else "–",
    )


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them.

    >>> listed(["mpo"]), listed(["md", "mmd", "mpo"])
    ('mpo', 'md, mmd and mpo')
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _solvers(found: Tournament) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("solver", style="bold cyan", no_wrap=True)
    for column in ("last", "average", "< 1e-4 from", "magnets"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("settings, and what it is", ratio=1)
    for played in found.plays:
        about = Text.assemble(settings(played), ("  " if settings(played) else "") + title(played), style="dim")
        table.add_row(played.solver.name, *cells(played), about)
    return table


def _policies(found: Tournament) -> Table:
    (played,) = found.plays
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("action", style="cyan")
    for column in ("start", "last", "average", "equilibrium" if found.unique else "an equilibrium"):
        table.add_column(column, justify="right")
    start = np.exp(found.game.log_start)
    for i, name in enumerate(found.game.actions):
        row = (start[i], played.policy[i], played.average[i], found.equilibrium[i])
        table.add_row(name, *(f"{value:.4f}" for value in row))
    return table
