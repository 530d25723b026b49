"""Self-Play Preference Optimization (SPPO): the same update as mirror descent's, fitted as a regression.

Paper    Wu et al. 2024, arXiv:2405.00675
Read     code
Formula  pi' = pi * exp(eta P(y > pi)) / Z,  the fit of  log( pi'(y) / pi(y) )  to  eta ( P(y > pi) - 1/2 )
Differs  in eta, whose code has 1e2 to 1e3 for log-probs of whole texts: in a table that is a jump to the best answer.
         A table is normalised exactly; the regression takes 1/2 for log(Z) / eta, which is off by at most eta/8.
"""

from typing import ClassVar

from ...settings import setting
from ..game import Game
from ..policies import normalised
from .solver import Solver, State


class SPPO(Solver):
    """Multiplicative weights, as SPPO takes them."""

    kind: ClassVar[str] = "sppo"

    eta: float = setting(1.0, "step size, 1/beta of the code", source="ours", gt=0)

    def update(self, game: Game, state: State) -> State:
        q = game.win_rates(state.log_policy)
        return state.moved(normalised(state.log_policy + self.eta * (q - 0.5)))
