"""Online DPO: the pair is drawn from the policy itself, and a judge says which answer is chosen.

Paper    Guo et al. 2024, arXiv:2402.04792
Read     memory
Loss     DPO's Eq. 7 on two answers y1, y2 ~ pi(.|x) of the policy at the round's start, the judge's better one chosen:
         -log sigmoid( beta * (r_chosen - r_rejected) ),  r = log pi(y|x) - log pi_ref(y|x)
Recipe   ours: the reference is the policy's start and stays, as in the paper; rounds over all prompts
Differs  in when answers are drawn: the paper draws them for every step (`schedule.prompts=batch`), here by default for
         a round of steps. Of more than two answers the best and the worst make the pair. Any judge will do; the
         paper's is a language model asked for a preference.
"""

from typing import ClassVar

from ..models.references import Frozen
from ..optim.update import AdamW
from ..recipe import Recipe
from ..schedule import Rounds
from .dpo import LogRatioPair


class OnlineDPO(LogRatioPair):
    """DPO's loss; what is new is where the pair comes from."""

    kind: ClassVar[str] = "online_dpo"


def recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """Online DPO; `settings` are those of `OnlineDPO`."""
    return Recipe(
        method="online_dpo",
        objective=OnlineDPO(**settings),
        references={"initial": Frozen()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="constant"),
        schedule=Rounds(),
    )
