"""Trust Region DPO: DPO whose reference follows the policy.

Paper    Gorbatovski et al. 2024, arXiv:2404.09656; share is its alpha, every its tau
Read     others: reviews of the paper, and TRL
Recipe   paper: AdamW, learning rate 1e-6, warm-up over 100 steps, clip 2; the linear decay is ours
Differs  in nothing that is known. The paper was not read. Both updates and their best values, alpha 0.5 to 0.6 and tau
         512, are those of its reviews; beta, learning rate, warm-up and clip are what TRL's list of papers gives as
         its tables; that the soft update comes after every step is remembered. TRL makes one of both: alpha 0.6 every
         512 steps, here  --set references.initial.every=512.  With LoRA the mean is of whole weights, not of A and B.
"""

from typing import ClassVar

from ..models.references import Moving
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from .dpo import LogRatioPair


class TrustRegion(LogRatioPair):
    """Abstract: DPO's loss, with the paper's beta."""

    beta: float = setting(0.05, "inverse temperature; larger stays nearer to the reference", source="paper", gt=0)


class TRDPO(TrustRegion):
    """Trust Region DPO, soft: the reference moves a share of the way to the policy at each step.

    Loss     -log sigmoid( beta * (r_chosen - r_rejected) ),  r = log pi(y|x) - log pi_ref(y|x),
             theta_ref <- share * theta + (1 - share) * theta_ref after each step,  references.initial.share = 0.6
    """

    kind: ClassVar[str] = "tr_dpo"


class TRDPOHard(TrustRegion):
    """Trust Region DPO, hard: the policy takes its reference's place every so many steps.

    Loss     -log sigmoid( beta * (r_chosen - r_rejected) ),  r = log pi(y|x) - log pi_ref(y|x),
             theta_ref <- theta after every 512th step,  references.initial.every = 512
    """

    kind: ClassVar[str] = "tr_dpo_hard"


def recipe(*, share: float = 0.6, every: int = 1, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """TR-DPO's soft update; `share` and `every` are those of `Moving`, `settings` those of `TRDPO`."""
    return _recipe(TRDPO(**settings), Moving(share=share, every=every), learning_rate)


def hard_recipe(*, every: int = 512, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """TR-DPO's hard update after each `every` steps; `settings` are those of `TRDPOHard`."""
    return _recipe(TRDPOHard(**settings), Moving(share=1.0, every=every), learning_rate)


def _recipe(objective: Objective, reference: Moving, learning_rate: float) -> Recipe:
    return Recipe(
        method=objective.kind,
        objective=objective,
        references={"initial": reference},
        update=AdamW(learning_rate=learning_rate, warmup_steps=100, max_grad_norm=2.0),
    )
