"""Preference games small enough to be exact: every answer in a table, every equilibrium known, solvers from papers.

`play(game_of("cyclic"), solver_of("mpo", alpha=0.1), steps=2000)` is all there is to it. Importing this imports numpy
and no torch; scipy waits for the first equilibrium.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SettingsError, did_you_mean
from ..settings import named
from .equilibria import equilibrium, implied_exploitability, regularised_equilibrium, spread
from .files import SUFFIXES, read_game
from .game import Game
from .kinds import Annotators, BradleyTerry, Cyclic, GameKind, PerturbedRPS, Random
from .play import Played, begin, play
from .policies import kl
from .solvers.solver import Solver, State

__all__ = [
    "GAMES",
    "SOLVERS",
    "Game",
    "Played",
    "Solver",
    "State",
    "begin",
    "equilibrium",
    "game_of",
    "implied_exploitability",
    "kl",
    "play",
    "regularised_equilibrium",
    "solver_class",
    "solver_of",
    "spread",
]

GAMES: Mapping[str, type[GameKind]] = {
    kind.kind: kind for kind in (Cyclic, PerturbedRPS, Random, BradleyTerry, Annotators)
}
SOLVERS: Mapping[str, str] = {  # what converges on average, in a regularised game, in the game itself
    "md": "truenorth.games.solvers.mirror_descent:MirrorDescent",
    "sppo": "truenorth.games.solvers.sppo:SPPO",
    "nash_md": "truenorth.games.solvers.nash_md:NashMD",
    "inpo": "truenorth.games.solvers.inpo:INPO",
    "egpo": "truenorth.games.solvers.egpo:EGPO",
    "mmd": "truenorth.games.solvers.mmd:MMD",
    "optimistic_md": "truenorth.games.solvers.optimistic_md:OptimisticMD",
    "mpo": "truenorth.games.solvers.mpo:MPO",
    "mpo_rt": "truenorth.games.solvers.mpo_rt:MPORewardTransformation",
    "comal": "truenorth.games.solvers.comal:COMAL",
}


def game_of(name: str, **settings: Any) -> Game:
    """The game of a row of GAMES, or in a file (.json, .csv, .npy), which takes no settings.

    >>> float(game_of("cyclic").wins[1, 0])
    0.9
    """
    if name in GAMES:
        return GAMES[name](**settings).game()
    if Path(name).suffix not in SUFFIXES:
        raise SettingsError(
            f"There is no game {name!r}.{did_you_mean(name, GAMES)} There are {', '.join(GAMES)}, and files: "
            f"{', '.join(SUFFIXES)}."
        )
    if settings:
        raise SettingsError(f"{name} is a file, and takes no settings; got {', '.join(settings)}.")
    return read_game(Path(name))


def solver_of(name: str, **settings: Any) -> Solver:
    """The solver of a row of SOLVERS, or a user's own `package.module:Class`.

    >>> solver_of("mpo", alpha=0.05)
    MPO(alpha=0.05, eta=None, inner_steps=100)
    """
    return solver_class(name)(**settings)


def solver_class(name: str) -> type[Solver]:
    """The class of a solver, with its settings not yet given. Raises SettingsError where there is none."""
    return named("solver", name, SOLVERS, Solver, "truenorth.games.Solver")
