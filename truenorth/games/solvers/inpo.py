"""Iterative Nash Policy Optimization: mirror descent on the game with a pull towards a reference.

Paper    Zhang et al. 2024, arXiv:2407.00617; alpha is its tau, eta the inverse of its eta
Read     others
Formula  pi' = pi^(1 - eta alpha) * magnet^(eta alpha) * exp(eta P pi) / Z
Differs  in eta. Read in COMAL's code, where it is a squared loss on pairs: (h(chosen) - h(rejected) - eta/2)^2,
         h = log pi' - eta alpha log magnet - (1 - eta alpha) log pi. A table cannot tell it from MMD at
         eta / (1 - eta alpha); it stops at the regularised equilibrium.
"""

from typing import ClassVar

from pydantic import model_validator

from ...settings import setting
from ..game import Game
from ..policies import geometric, normalised
from .solver import Solver, State
from .step_sizes import mirror_eta, refuse_overshoot


class INPO(Solver):
    """Mirror descent from the mixture of policy and reference, against the policy itself."""

    kind: ClassVar[str] = "inpo"

    alpha: float = setting(0.1, "pull towards the magnet", source="ours", gt=0)
    eta: float | None = setting(
        None, "step size; none: alpha / (L^2 + alpha^2), L = max |P - 1/2|", source="ours", gt=0
    )

    @model_validator(mode="after")
    def _reaches_no_further(self) -> "INPO":
        refuse_overshoot("INPO", self.alpha, self.eta)
        return self

    def update(self, game: Game, state: State) -> State:
        eta = self.eta if self.eta is not None else mirror_eta(game, self.alpha)
        mixture = geometric(state.log_policy, state.log_magnet, eta * self.alpha)
        return state.moved(normalised(mixture + eta * game.win_rates(state.log_policy)))
