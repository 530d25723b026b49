"""Magnetic mirror descent: mirror descent with a pull towards a magnet.

Paper    Sokota et al. 2022, arXiv:2206.05825
Read     paper
Formula  pi' = [ pi * magnet^(eta alpha) * exp(eta q) ]^(1 / (1 + eta alpha)) / Z,  q = P pi
Differs  in nothing. With a fixed magnet it converges to the regularised equilibrium, KL(pi_alpha || pi_k) falling by
         1 + eta alpha a step where eta <= alpha / L^2 (Theorem 3.4). A magnet that trails the policy
         (trail > 0: magnet' = magnet^(1 - trail) * pi^trail, pi before the update) is as in the authors' code,
         without their floor under probabilities.
"""

from dataclasses import replace
from typing import ClassVar

from pydantic import model_validator

from ...settings import setting
from ..game import Game
from ..policies import Floats, geometric, normalised
from .solver import Solver, State
from .step_sizes import magnetic_eta, refuse_no_step


class MMD(Solver):
    """Mirror descent on the game plus alpha * KL(pi || magnet)."""

    kind: ClassVar[str] = "mmd"

    alpha: float = setting(0.1, "pull towards the magnet; 0 is mirror descent", source="ours", ge=0)
    eta: float | None = setting(None, "step size; none: alpha / max |P - 1/2|^2", source="paper", gt=0)
    trail: float = setting(0.0, "share by which the magnet follows the policy each update", source="ours", ge=0, le=1)

    @model_validator(mode="after")
    def _has_a_step(self) -> "MMD":
        refuse_no_step("MMD", self.alpha, self.eta)
        return self

    def update(self, game: Game, state: State) -> State:
        eta = self.eta if self.eta is not None else magnetic_eta(game, self.alpha)
        q = game.win_rates(state.log_policy)
        after = state.moved(magnetic_step(state, q, alpha=self.alpha, eta=eta))
        if self.trail == 0:
            return after
        return replace(after, log_magnet=geometric(state.log_magnet, state.log_policy, self.trail))


def magnetic_step(state: State, q: Floats, *, alpha: float, eta: float) -> Floats:
    """[A] nats: the policy that maximises  E q - alpha KL(. || magnet) - KL(. || policy) / eta."""
    pull = eta * alpha
    return normalised((state.log_policy + pull * state.log_magnet + eta * q) / (1 + pull))
