"""Which pairs of a round are learnt from, where a method leaves some out. What a paper says of it, without torch."""

from dataclasses import dataclass

from .errors import SettingsError
from .schedule import Rounds


@dataclass(frozen=True, slots=True)
class BeatsOwn:
    """Of the pairs of the data those whose chosen answer a judge does not put below what the policy answers itself."""

    def rows_per_prompt(self, k: int) -> float:
        """Most pairs to learn from that a prompt makes on the whole, in a round that draws `k` answers to each."""
        del k
        return 1.0

    def refuse(self, name: str, schedule: Rounds) -> None:
        """Raise SettingsError where rounds do not make the pairs that are chosen from."""
        if schedule.compared != "both":
            raise SettingsError(
                f"{name} compares the chosen answer of a row with one that is drawn beside it: it needs "
                f"schedule.compared=both, got {schedule.compared}."
            )


@dataclass(frozen=True, slots=True)
class Informative:
    """Of the pairs of drawn answers those that an estimator agrees with and has little to learn from.

    Winners are of the better half of a prompt's answers, losers of the worse. The estimator is asked `runs` times,
    each time with other units dropped. Its information gain over log 2 becomes the column `uncertainty` of the rows.
    """

    estimator: str | None  # a model of `truenorth train preference` or `train reward`; None: to be given before a run
    runs: int
    estimated: float  # share of the pairs that it is asked about, in (0, 1]
    kept: float  # share of those it agrees with that are learnt from, in (0, 1]
    exponent: float  # of 1 - gain in the chance of a pair to be kept; 0: all alike

    def rows_per_prompt(self, k: int) -> float:
        """As of `BeatsOwn`."""
        return (k // 2) ** 2 * self.estimated * self.kept

    def refuse(self, name: str, schedule: Rounds) -> None:
        """As of `BeatsOwn`."""
        if schedule.compared != "drawn":
            raise SettingsError(
                f"{name} makes its pairs of answers that are drawn to prompts: it needs schedule.compared=drawn, got "
                f"{schedule.compared}."
            )


Selection = BeatsOwn | Informative
