"""What every solver is: settings, and an update from one state of play to the next."""

import abc
from dataclasses import dataclass, replace
from typing import ClassVar

from ...settings import Part
from ..game import Game
from ..policies import Floats


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where play stands: all that an update reads and writes."""

    log_policy: Floats  # [A] nats, normalised: the iterate
    log_magnet: Floats  # [A] nats: the reference that the policy is drawn to; solvers without one leave it alone
    updates: int = 0  # since the magnet was last replaced
    magnets: int = 0  # how often it was
    last_rates: Floats | None = None  # [A] win rates of the update before, for the solver that reads them

    def moved(self, log_policy: Floats) -> "State":
        """The state after an update to `log_policy`."""
        return replace(self, log_policy=log_policy, updates=self.updates + 1)

    def with_magnet_after(self, inner_steps: int | None) -> "State":
        """The policy as the new magnet where it has had so many updates under the old one; None: never."""
        if inner_steps is None or self.updates < inner_steps:
            return self
        return replace(self, log_magnet=self.log_policy, updates=0, magnets=self.magnets + 1)


class Solver(Part, abc.ABC):
    """A paper's update, with the whole game in sight: exact win rates in place of samples, no function to fit.

    Settings have one name in all of them: `eta` is the step size (1/eta weighs the KL to the last policy), `alpha`
    weighs the KL to the magnet, which papers also call tau, beta or lambda.
    """

    evaluations: ClassVar[int] = 1  # policies against which an update asks for win rates

    @abc.abstractmethod
    def update(self, game: Game, state: State) -> State:
        """The state after one update."""

    @property
    def name(self) -> str:
        return type(self).kind or type(self).__name__
