"""Solvers on one game, at the same cost, beside the game's equilibria."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .equilibria import equilibrium, spread
from .game import Game
from .play import Played, play
from .policies import Floats, kl
from .solvers.solver import Solver

SAME = 1e-6  # probabilities that differ by less are one: the linear programs' own precision
MOST_ACTIONS = 60  # of a game whose equilibria are all looked for: two linear programs an action
COARSE, FINE = 1e-4, 1e-8  # exploitability; the first counts as solved for a reader, the second for a test


@dataclass(frozen=True, slots=True, eq=False)
class Tournament:
    """What each solver made of the game in so many steps."""

    game: Game
    steps: int
    plays: tuple[Played, ...]
    equilibrium: Floats  # [A] probabilities; one of them
    unique: bool | None  # whether it is the only one; None: not looked for, the game is large

    @property
    def solved(self) -> list[Played]:
        """The plays whose last policy stays below an exploitability of 1e-4."""
        return [played for played in self.plays if played.steps_below(COARSE) is not None]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON; with one solver its figures stand beside the game's, with several under `solvers`."""
        about = {
            "game": self.game.name,
            "actions": list(self.game.actions),
            "start": np.exp(self.game.log_start).tolist(),
            "equilibrium": self.equilibrium.tolist(),
            "equilibrium_is_unique": self.unique,
        }
        figures = [self._figures(played) for played in self.plays]
        return about | (figures[0] if len(figures) == 1 else {"steps_asked": self.steps, "solvers": figures})

    def _figures(self, played: Played) -> dict[str, Any]:
        settings = played.solver.model_dump(mode="json")
        settings.pop("kind")
        return {
            "solver": played.solver.name,
            "settings": settings,
            "steps": int(played.steps[-1]),
            "updates": len(played.steps) - 1,
            "magnets": played.state.magnets,
            "exploitability_start": float(played.last_curve[0]),
            "exploitability_last": float(played.last_curve[-1]),
            "exploitability_average": float(played.average_curve[-1]),
            "steps_to_1e-4": played.steps_below(COARSE),
            "steps_to_1e-8": played.steps_below(FINE),
            "kl_to_equilibrium": self.divergence(played),
            "policy": played.policy.tolist(),
            "average_policy": played.average.tolist(),
        }

    def divergence(self, played: Played) -> float | None:
        """KL(equilibrium || last policy) in nats; None where the equilibrium is not known to be the only one."""
        if not self.unique:
            return None
        with np.errstate(divide="ignore"):
            return max(0.0, kl(np.log(self.equilibrium), played.state.log_policy))


def tournament(game: Game, solvers: Sequence[Solver], *, steps: int) -> Tournament:
    """Let each solver spend `steps` preference evaluations on the game."""
    plays = tuple(play(game, solver, steps=steps) for solver in solvers)
    unique = None
    if game.size <= MOST_ACTIONS:
        low, high = spread(game)
        unique = bool((high - low < SAME).all())
    return Tournament(game, steps, plays, equilibrium(game), unique)
