"""COMAL: solve the game with a pull towards a reference, make the solution the reference, again and again.

Paper    Liu et al. 2024, arXiv:2410.23223; alpha is its tau
Read     code
Formula  magnet_(n+1) = the equilibrium of the game regularised by alpha * KL(. || magnet_n),
         approached by `inner_steps` updates of another solver
Differs  in inner_steps and alpha, ours. The inner solver of the paper is INPO; with MMD it is MPO, to the bit. KL from
         an equilibrium to the magnet never rises where the inner problem is solved (its Theorem 1).
"""

from functools import cached_property
from typing import ClassVar, Literal

from pydantic import model_validator

from ...settings import setting
from ..game import Game
from .egpo import EGPO
from .inpo import INPO
from .mmd import MMD
from .nash_md import NashMD
from .solver import Solver, State

INNER: dict[str, type[Solver]] = {"inpo": INPO, "mmd": MMD, "egpo": EGPO, "nash_md": NashMD}


class COMAL(Solver):
    """The proximal point method around a solver of regularised games."""

    kind: ClassVar[str] = "comal"

    inner: Literal["inpo", "mmd", "egpo", "nash_md"] = setting("inpo", "solver between magnets", source="paper")
    alpha: float = setting(0.1, "pull towards the magnet", source="ours", gt=0)
    eta: float | None = setting(None, "step size of the inner solver; none: its own", source="ours", gt=0)
    inner_steps: int = setting(100, "updates from one magnet to the next", source="ours", ge=1)

    @model_validator(mode="after")
    def _inner_takes_them(self) -> "COMAL":
        assert self.solver  # made now, so that alpha and eta that do not fit it are refused
        return self

    @cached_property
    def solver(self) -> Solver:
        """The inner solver."""
        settings = {"alpha": self.alpha} | ({"eta": self.eta} if self.eta is not None else {})
        return INNER[self.inner](**settings)

    def update(self, game: Game, state: State) -> State:
        return self.solver.update(game, state).with_magnet_after(self.inner_steps)
