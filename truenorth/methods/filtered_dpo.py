"""Filtered DPO: a pair of the data is left out of a round where the policy answers better than its chosen answer.

Paper    Morimura et al. 2024, arXiv:2404.13846
Read     code
Loss     DPO's,  -log sigmoid( beta * (r_chosen - r_rejected) ),  r = log pi(y|x) - log pi_ref(y|x),
         on the pairs of which a judge says  reward(chosen) >= reward(y),  y ~ pi(.|x) drawn at the round's start
Recipe   code: RMSprop, learning rate 1e-6, constant; ten passes over the rows, each a round; answers of 64 tokens
Differs  in which pairs come back: in the code one that was left out stays out, here each round asks again, of the
         policy as it is then. In ties, which the code leaves out and we keep. The judge may be one of pairs, and is
         asked about the rejected answer too, whose score changes nothing. Each round has as many steps as if all its
         pairs were there, over which those that are left are shared out.
"""

from typing import ClassVar

from ..models.references import Frozen
from ..optim.update import RMSprop
from ..recipe import Recipe
from ..schedule import Rounds
from ..selection import BeatsOwn
from .dpo import LogRatioPair


class FilteredDPO(LogRatioPair):
    """DPO's loss; what is new is which pairs have one."""

    kind: ClassVar[str] = "filtered_dpo"

    @property
    def selection(self) -> BeatsOwn:
        return BeatsOwn()


def recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """Filtered DPO; `settings` are those of `FilteredDPO`."""
    return Recipe(
        method="filtered_dpo",
        objective=FilteredDPO(**settings),
        references={"initial": Frozen()},
        update=RMSprop(learning_rate=learning_rate, decay="constant"),
        schedule=Rounds(rounds=10, compared="both", k=1, max_new_tokens=64),
    )
