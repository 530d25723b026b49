"""A preference game: a table of which answer is preferred to which, and how far a policy is from unbeatable in it."""

from dataclasses import dataclass, field

import numpy as np

from ..errors import DataError
from .policies import Floats, log_policy

ROUNDING = 1e-6  # by which P + P^T may miss 1: tables are written with some digits


@dataclass(frozen=True, slots=True, eq=False)
class Game:
    """Two players each choose one of A actions, the answers to one prompt; the first wants its own preferred.

    The game is symmetric and its sum constant: its value is 1/2, and some policy is beaten by none. There may be
    several such (ties, answers that win equally); what holds for any of them is that their exploitability is 0.
    Raises DataError for a table that is no preference.

    >>> Game(np.array([[0.5, 0.9], [0.1, 0.5]])).exploitability(np.array([0.0, 1.0]))
    0.4
    """

    wins: Floats  # [A, A] P(row is preferred to column), in [0, 1]; P + P^T = 1
    name: str = "given"
    actions: tuple[str, ...] = ()  # names; none: 1 to A
    start: tuple[float, ...] = ()  # [A] probabilities where solvers begin; none: all alike
    payoff: Floats = field(init=False, repr=False)  # [A, A] P - 1/2, antisymmetric to the bit

    def __post_init__(self) -> None:
        wins = checked(np.asarray(self.wins, dtype=np.float64), self.name)
        names = self.actions or tuple(str(i + 1) for i in range(len(wins)))
        if not len(set(names)) == len(names) == len(wins):
            raise DataError(f"{self.name}: {len(wins)} actions need as many different names, got {list(names)}.")
        if self.start:
            log_policy(self.start, len(wins))  # refuses one that does not fit
        object.__setattr__(self, "payoff", (wins - wins.T) / 2)
        object.__setattr__(self, "wins", self.payoff + 0.5)
        object.__setattr__(self, "actions", names)

    @property
    def size(self) -> int:
        """A, the number of actions."""
        return len(self.wins)

    @property
    def smoothness(self) -> float:
        """L: how much an action's win rate can change with the policy it meets, max |P - 1/2|; at most 1/2."""
        return float(abs(self.payoff).max())

    @property
    def log_start(self) -> Floats:
        """[A] nats: where solvers begin, and the first reference of those that have one."""
        return log_policy(self.start or (1.0,) * self.size, self.size)

    def win_rates(self, log_policy: Floats) -> Floats:
        """[A] nats -> [A]: how often each action is preferred to one of the policy's. One preference evaluation."""
        return self.wins @ np.exp(log_policy)

    def exploitability(self, policy: Floats) -> float:
        """[A] probabilities -> [0, 1/2]: by how much the best answer to the policy beats 1/2. 0 at equilibria only."""
        return max(0.0, float((self.payoff @ policy).max()))

    def duality_gap(self, first: Floats, second: Floats) -> float:
        """What both players together could gain by changing alone. Of a policy against itself twice the above."""
        return self.exploitability(first) + self.exploitability(second)


def checked(wins: Floats, name: str) -> Floats:
    """`wins` itself. Raises DataError unless it is a table of preferences, naming the first entry that is not."""
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1] or len(wins) < 2:
        shape = " x ".join(map(str, wins.shape)) or "a single number"
        raise DataError(f"{name}: a game is a square table of 2 actions or more, got {shape}.")
    if (bad := np.argwhere(~((wins >= 0) & (wins <= 1)))).size:  # NaN too
        hint = " If these are payoffs in [-1/2, 1/2], add 1/2." if abs(np.diag(wins)).max() == 0 else ""
        raise DataError(f"{name}: {_place(*bad[0])} is {wins[*bad[0]]:g}, not a probability in [0, 1].{hint}")
    if (bad := np.argwhere(abs(wins + wins.T - 1) > ROUNDING)).size:
        i, j = bad[0]
        if i == j:
            raise DataError(f"{name}: {_place(i, j)} is {wins[i, j]:g}; an action against itself must have 0.5.")
        raise DataError(
            f"{name}: {_place(i, j)} is {wins[i, j]:g} and {_place(j, i)} is {wins[j, i]:g}; they must add up to 1."
        )
    return wins


def _place(row: int, column: int) -> str:
    return f"row {row + 1}, column {column + 1}"
