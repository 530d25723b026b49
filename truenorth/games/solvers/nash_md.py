"""Nash-MD: mirror descent from, and against, a mixture of the policy with its reference.

Paper    Munos et al. 2023, arXiv:2312.00886; alpha is its tau
Read     others
Formula  pi' = mu * exp(eta P mu) / Z,  mu = pi^(1 - eta alpha) * magnet^(eta alpha) / Z
Differs  in nothing at the default eta, 2 / (alpha (t + 2)), for which the paper has KL(pi_alpha || pi_T) at most
         8 / (alpha^2 (T + 1)). A constant eta stops beside the regularised equilibrium: the opponent is the mixture.
"""

from typing import ClassVar

from pydantic import model_validator

from ...settings import setting
from ..game import Game
from ..policies import geometric, normalised
from .solver import Solver, State
from .step_sizes import refuse_overshoot


class NashMD(Solver):
    """Mirror descent through a geometric mixture."""

    kind: ClassVar[str] = "nash_md"

    alpha: float = setting(0.1, "pull towards the magnet", source="ours", gt=0)
    eta: float | None = setting(None, "step size; none: 2 / (alpha (t + 2)) at update t", source="paper", gt=0)

    @model_validator(mode="after")
    def _reaches_no_further(self) -> "NashMD":
        refuse_overshoot("Nash-MD", self.alpha, self.eta)
        return self

    def update(self, game: Game, state: State) -> State:
        eta = self.eta if self.eta is not None else 2 / (self.alpha * (state.updates + 2))
        mixture = geometric(state.log_policy, state.log_magnet, eta * self.alpha)
        return state.moved(normalised(mixture + eta * game.win_rates(mixture)))
