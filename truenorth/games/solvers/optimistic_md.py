"""Optimistic mirror descent: each step counts on the next win rates changing as the last ones did.

Paper    Rakhlin and Sridharan 2013, arXiv:1311.1869; in self-play with preferences ONPO, arXiv:2502.16852
Read     memory
Formula  pi' = pi * exp( eta (2 q_t - q_(t-1)) ) / Z,  q_t = P pi_t
Differs  in being the one-step form; the papers were not read beyond ONPO's abstract. Its last policy converges to an
         equilibrium of the game itself, with exact win rates.
"""

from dataclasses import replace
from typing import ClassVar

from ...settings import setting
from ..game import Game
from ..policies import normalised
from .solver import Solver, State


class OptimisticMD(Solver):
    """Multiplicative weights with a guess of the next win rates."""

    kind: ClassVar[str] = "optimistic_md"

    eta: float = setting(0.5, "step size", source="ours", gt=0)

    def update(self, game: Game, state: State) -> State:
        q = game.win_rates(state.log_policy)
        before = q if state.last_rates is None else state.last_rates
        after = state.moved(normalised(state.log_policy + self.eta * (2 * q - before)))
        return replace(after, last_rates=q)
