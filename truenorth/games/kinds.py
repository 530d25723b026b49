"""Games to play, as settings: the small ones of the papers, and drawn ones of any size."""

import abc
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, model_validator

from ..errors import SettingsError
from ..settings import Part, setting
from .game import Game
from .policies import Floats

Row = Annotated[tuple[float, ...], Field(min_length=2)]


class GameKind(Part, abc.ABC):
    """Settings of which a game is made."""

    @abc.abstractmethod
    def game(self) -> Game:
        """The game; the same settings give the same bits."""


class Cyclic(GameKind):
    """Three answers in a circle: b beats a, c beats b, a beats c. COMAL's example, arXiv:2410.23223.

    Its one equilibrium is (4, 3, 4) / 11; solvers begin at (0.2, 0.5, 0.3), as in the paper.
    """

    kind: ClassVar[str] = "cyclic"

    def game(self) -> Game:
        wins = np.array([[0.5, 0.1, 0.8], [0.9, 0.5, 0.1], [0.2, 0.9, 0.5]])
        return Game(wins, self.kind, ("a", "b", "c"), start=(0.2, 0.5, 0.3))


class PerturbedRPS(GameKind):
    """Rock, paper, scissors with unequal stakes, the payoffs -3 to 3 as probabilities 0 to 1.

    From Sokota et al. 2022, arXiv:2206.05825. Its one equilibrium is (1, 3, 3) / 7.
    """

    kind: ClassVar[str] = "perturbed_rps"

    def game(self) -> Game:
        payoff = np.array([[0.0, -3, 3], [3, 0, -1], [-3, 1, 0]])
        return Game(0.5 + payoff / 6, self.kind, ("rock", "paper", "scissors"))


class Random(GameKind):
    """Every pair's preference drawn evenly from [0, 1], whatever the other pairs have: full of circles."""

    kind: ClassVar[str] = "random"

    actions: int = setting(6, "answers", source="ours", ge=2)
    seed: int = setting(0, "of the draw", source="ours", ge=0)

    def game(self) -> Game:
        above = np.triu(np.random.default_rng(self.seed).uniform(-0.5, 0.5, (self.actions, self.actions)), 1)
        return Game(0.5 + above - above.T, self.kind)


class BradleyTerry(GameKind):
    """Preferences of a scalar reward: P(i > j) = sigmoid(reward_i - reward_j). No circles; the best answer wins."""

    kind: ClassVar[str] = "bradley_terry"

    rewards: Row | None = setting(None, "of each answer; none: drawn from a normal of width 1", source="ours")
    actions: int = setting(6, "answers, where rewards are drawn", source="ours", ge=2)
    seed: int = setting(0, "of the draw", source="ours", ge=0)

    def game(self) -> Game:
        drawn = np.random.default_rng(self.seed).normal(size=self.actions)
        return Game(preferences(drawn if self.rewards is None else np.array(self.rewards)), self.kind)


class Annotators(GameKind):
    """A crowd of whom each has a scalar reward: P = sum_k share_k sigmoid(reward_k,i - reward_k,j).

    Nobody's own preferences go in circles, and by default those of the crowd do, as Condorcet found.
    """

    kind: ClassVar[str] = "annotators"

    rewards: Annotated[tuple[Row, ...], Field(min_length=1)] = setting(
        ((4.0, 2.0, 0.0), (0.0, 4.0, 2.0), (2.0, 0.0, 4.0)),
        "a row for each annotator, a number an answer",
        source="ours",
    )
    shares: tuple[Annotated[float, Field(ge=0)], ...] = setting(
        (0.4, 0.35, 0.25), "of the annotators, divided by their sum", source="ours"
    )

    @model_validator(mode="after")
    def _one_for_each(self) -> "Annotators":
        if len({len(row) for row in self.rewards}) > 1:
            lengths = [len(row) for row in self.rewards]
            raise SettingsError(
                f"Annotators' rewards must have one number an answer in every row, got rows of {lengths}."
            )
        if len(self.shares) != len(self.rewards) or not sum(self.shares) > 0:
            raise SettingsError(
                f"Annotators' shares must be one for each of the {len(self.rewards)} rows of rewards, not all 0, "
                f"got {list(self.shares)}."
            )
        return self

    def game(self) -> Game:
        shares = np.array(self.shares) / sum(self.shares)
        return Game(np.tensordot(shares, np.stack([preferences(np.array(row)) for row in self.rewards]), 1), self.kind)


def preferences(rewards: Floats) -> Floats:
    """[A] -> [A, A]: sigmoid(reward_i - reward_j).

    >>> preferences(np.array([0.0, np.log(3.0)])).round(12).tolist()
    [[0.5, 0.25], [0.75, 0.5]]
    """
    gap = rewards[:, None] - rewards[None, :]
    return 0.5 + 0.5 * np.tanh(gap / 2)  # the logistic function, without overflow
