"""SALSA: the reference is a soup of two SFT models.

Paper    Chegini et al. 2024, arXiv:2411.01798, which has a soup as the reference of PPO
Read     reconstructed: the paper has it for PPO
Recipe   ours: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps; the user names the second SFT
         model, of another seed or order of the same data: --set references.initial.path=...
Differs  in the method it is for: the paper keeps PPO near the soup, with a reward model. salsa is DPO's loss with that
         reference, salsa_rl RLOO's policy gradient, without PPO's value head and clip. Any method takes it:
         --set references.initial.kind=soup. The paper was not read; soup and start are from its abstract, the share
         of a half from a note on its reviews. beta is ours.
"""

from typing import ClassVar

from ..models.references import Soup
from ..optim.update import AdamW
from ..recipe import Recipe
from ..schedule import Rounds
from ..settings import setting
from .dpo import LogRatioPair
from .rloo import LeaveOneOut


class SALSA(LogRatioPair):
    """SALSA for pairs. Where policy and soup differ at the start, so do its first margins from 0.

    Loss     -log sigmoid( beta * (r_chosen - r_rejected) ),  r = log pi(y|x) - log pi_soup(y|x),
             theta_soup = start_share * theta_start + (1 - start_share) * theta_path
    """

    kind: ClassVar[str] = "salsa"

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the soup", source="ours", gt=0)


class SALSARL(LeaveOneOut):
    """SALSA in rounds: the policy gradient of a judge's reward less the KL to the soup.

    Loss     -1/K sum_i A_i log pi(y_i|x),  A_i = R_i - mean of the others' R,
             R_i = r_i - beta * log( pi(y_i|x) / pi_soup(y_i|x) ),  the soup as of salsa
    """

    kind: ClassVar[str] = "salsa_rl"


def recipe(
    *, path: str | None = None, start_share: float = 0.5, learning_rate: float = 5e-7, **settings: float
) -> Recipe:
    """SALSA for pairs; a run refuses it without `path`, the second SFT model. `settings` are those of `SALSA`."""
    return Recipe(
        method="salsa",
        objective=SALSA(**settings),
        references={"initial": Soup(path=path, start_share=start_share)},  # None: to be given before a run
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )


def rl_recipe(
    *, path: str | None = None, start_share: float = 0.5, learning_rate: float = 1e-6, **settings: float
) -> Recipe:
    """SALSA in rounds; a run refuses it without `path`, the second SFT model. `settings` are those of `SALSARL`."""
    return Recipe(
        method="salsa_rl",
        objective=SALSARL(**settings),
        references={"initial": Soup(path=path, start_share=start_share)},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.05, decay="constant"),
        schedule=Rounds(rounds=100, prompts="batch", k=4),
    )
