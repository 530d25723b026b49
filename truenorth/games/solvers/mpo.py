"""Magnetic Preference Optimization: magnetic mirror descent whose magnet becomes the policy every so often.

Paper    Wang et al. 2024, arXiv:2410.16714
Read     others
Formula  pi' = [ pi * magnet^(eta alpha) * exp(eta q) ]^(1 / (1 + eta alpha)) / Z,  q = P pi;
         magnet' = pi' after every `inner_steps` updates
Differs  in alpha, eta and inner_steps, which were not found: ours. The updates were read in reviews of the paper and
         in Sokota et al. 2022; the paper itself was not, beyond its first page. Its last policy converges to an
         equilibrium of the game itself, if the magnet rests long enough: (1 + eta alpha)^inner_steps well above 1.
"""

from typing import ClassVar

from pydantic import model_validator

from ...settings import setting
from ..game import Game
from .mmd import magnetic_step
from .solver import Solver, State
from .step_sizes import magnetic_eta, refuse_no_step


class MPO(Solver):
    """Magnetic mirror descent with a magnet that is replaced."""

    kind: ClassVar[str] = "mpo"

    alpha: float = setting(0.1, "pull towards the magnet; 0 is mirror descent", source="ours", ge=0)
    eta: float | None = setting(None, "step size; none: alpha / max |P - 1/2|^2", source="paper", gt=0)
    inner_steps: int | None = setting(100, "updates from one magnet to the next; none: it stays", source="ours", ge=1)

    @model_validator(mode="after")
    def _has_a_step(self) -> "MPO":
        refuse_no_step("MPO", self.alpha, self.eta)
        return self

    def update(self, game: Game, state: State) -> State:
        eta = self.eta if self.eta is not None else magnetic_eta(game, self.alpha)
        q = game.win_rates(state.log_policy)
        after = state.moved(magnetic_step(state, q, alpha=self.alpha, eta=eta))
        return after.with_magnet_after(self.inner_steps)
