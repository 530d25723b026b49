"""Extragradient Preference Optimization: look a step ahead, then step from where one was by what was seen there.

Paper    Zhou et al. 2025, arXiv:2503.08942; alpha is its beta
Read     code
Formula  half = mu * exp(eta P pi) / Z,  pi' = mu * exp(eta P half) / Z,  mu = pi^(1 - eta alpha) * magnet^(eta alpha)
Differs  in eta, ours. It converges linearly to the regularised equilibrium, and at alpha = 0, where it is the plain
         extragradient method, to an equilibrium of the game itself. Each update asks for two win rates.
"""

from typing import ClassVar

from pydantic import model_validator

from ...settings import setting
from ..game import Game
from ..policies import geometric, normalised
from .solver import Solver, State
from .step_sizes import refuse_overshoot


class EGPO(Solver):
    """The extragradient method on the game with a pull towards the magnet."""

    kind: ClassVar[str] = "egpo"
    evaluations: ClassVar[int] = 2

    alpha: float = setting(0.1, "pull towards the magnet; 0 is the plain extragradient method", source="ours", ge=0)
    eta: float = setting(0.5, "step size", source="ours", gt=0)

    @model_validator(mode="after")
    def _reaches_no_further(self) -> "EGPO":
        refuse_overshoot("EGPO", self.alpha, self.eta)
        return self

    def update(self, game: Game, state: State) -> State:
        mixture = geometric(state.log_policy, state.log_magnet, self.eta * self.alpha)
        half = normalised(mixture + self.eta * game.win_rates(state.log_policy))
        return state.moved(normalised(mixture + self.eta * game.win_rates(half)))
