"""Mirror descent against itself: Self-Play Preference Optimization (SPO) with a table for a policy.

Paper    Swamy et al. 2024, arXiv:2401.04056: any learner without regret, rewarded by its win rate against itself
Read     others
Formula  pi' = pi * exp(eta q) / Z,  q = P pi
Differs  in the learner, which is multiplicative weights here; the paper's are reinforcement learners. What converges
         is the mean of its policies. The last one circles, or runs to the edge.
"""

from typing import ClassVar

from ...settings import setting
from ..game import Game
from ..policies import normalised
from .solver import Solver, State


class MirrorDescent(Solver):
    """Multiplicative weights in self-play."""

    kind: ClassVar[str] = "md"

    eta: float = setting(0.1, "step size", source="ours", gt=0)

    def update(self, game: Game, state: State) -> State:
        q = game.win_rates(state.log_policy)
        return state.moved(normalised(state.log_policy + self.eta * q))
