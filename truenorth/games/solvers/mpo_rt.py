"""MPO with reward transformation: the pull towards the magnet as part of the reward, under plain mirror descent.

Paper    Wang et al. 2024, arXiv:2410.16714
Read     others
Formula  pi' = pi * exp(eta r) / Z,  r = P pi - alpha log( pi / magnet );  magnet' = pi' after `inner_steps` updates
Differs  in alpha, eta and inner_steps, which were not found: ours. A table cannot tell it from MPO, whose step eta is
         eta / (1 + eta alpha) here; with language models the two differ in variance and after the first gradient step.
"""

from typing import ClassVar

from pydantic import model_validator

from ...settings import setting
from ..game import Game
from ..policies import Floats, normalised
from .solver import Solver, State
from .step_sizes import mirror_eta, refuse_overshoot


class MPORewardTransformation(Solver):
    """Mirror descent on the transformed reward."""

    kind: ClassVar[str] = "mpo_rt"

    alpha: float = setting(0.1, "pull towards the magnet", source="ours", gt=0)
    eta: float | None = setting(
        None, "step size; none: alpha / (L^2 + alpha^2), L = max |P - 1/2|", source="ours", gt=0
    )
    inner_steps: int | None = setting(100, "updates from one magnet to the next; none: it stays", source="ours", ge=1)

    @model_validator(mode="after")
    def _reaches_no_further(self) -> "MPORewardTransformation":
        refuse_overshoot("MPO-RT", self.alpha, self.eta)
        return self

    def update(self, game: Game, state: State) -> State:
        eta = self.eta if self.eta is not None else mirror_eta(game, self.alpha)
        r = transformed(state, game.win_rates(state.log_policy), self.alpha)
        after = state.moved(normalised(state.log_policy + eta * r))
        return after.with_magnet_after(self.inner_steps)


def transformed(state: State, q: Floats, alpha: float) -> Floats:
    """[A]: the win rates less alpha times the log ratio of policy to magnet."""
    return q - alpha * (state.log_policy - state.log_magnet)
