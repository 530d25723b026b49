"""A solver let loose on a game: its policies update by update, and how exploitable each and their mean are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from .game import Game
from .policies import Floats
from .solvers.solver import Solver, State


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """What came of U updates. Index 0 of the curves is the start."""

    solver: Solver
    state: State
    average: Floats  # [A] probabilities: the plain mean of the policies that the updates made
    steps: NDArray[np.int64]  # [U + 1] preference evaluations until then
    last_curve: Floats  # [U + 1] exploitability of the policy
    average_curve: Floats  # [U + 1] exploitability of the mean of the policies so far

    @property
    def policy(self) -> Floats:
        """[A] probabilities of the last policy."""
        return np.exp(self.state.log_policy)

    def steps_below(self, exploitability: float) -> int | None:
        """The first step from which the last policy stays below; None where it ends above."""
        above = np.flatnonzero(self.last_curve >= exploitability)
        first = int(above[-1]) + 1 if above.size else 0
        return int(self.steps[first]) if first < len(self.steps) else None


def begin(game: Game, log_start: Floats | None = None) -> State:
    """Policy and magnet at `log_start` ([A] nats; None: the game's own)."""
    start = game.log_start if log_start is None else log_start
    return State(log_policy=start, log_magnet=start)


def play(game: Game, solver: Solver, *, steps: int, log_start: Floats | None = None) -> Played:
    """Update for `steps` preference evaluations, and record every policy's exploitability.

    A step is one policy's win rates against all actions, P pi: with a language model, one round of sampling and
    judging. An update that asks for two counts as two, so that solvers are compared at equal cost.
    """
    updates = steps // solver.evaluations
    if updates < 1:
        raise SettingsError(f"{solver.name} takes {solver.evaluations} steps an update; give it so many, got {steps}.")
    state, total = begin(game, log_start), np.zeros(game.size)
    last, average = np.empty(updates + 1), np.empty(updates + 1)
    last[0] = average[0] = game.exploitability(np.exp(state.log_policy))
    for update in range(1, updates + 1):
        state = solver.update(game, state)
        policy = np.exp(state.log_policy)
        total += policy
        last[update], average[update] = game.exploitability(policy), game.exploitability(total / update)
    return Played(
        solver, state, total / updates, np.arange(updates + 1, dtype=np.int64) * solver.evaluations, last, average
    )
