"""SALSA for pairs: DPO whose reference is a soup of two SFT models.

Paper    Chegini et al. 2024, arXiv:2411.01798, which has a soup as the reference of PPO
Read     reconstructed: the paper has it for PPO
Loss     -log sigmoid( beta * (r_chosen - r_rejected) ),  r = log pi(y|x) - log pi_soup(y|x),
         theta_soup = start_share * theta_start + (1 - start_share) * theta_path
Recipe   ours: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps; the user names the second SFT
         model, of another seed or order of the same data: --set references.initial.path=...
Differs  in the method it is for: the paper keeps PPO near the soup, with a reward model; ours is DPO's loss with that
         reference, and any method for pairs takes it: --set references.initial.kind=soup. The paper was not read;
         soup and start are from its abstract, the share of a half from a note on its reviews. beta is ours.
"""

from typing import ClassVar

from ..models.references import Soup
from ..optim.update import AdamW
from ..recipe import Recipe
from ..settings import setting
from .dpo import LogRatioPair


class SALSA(LogRatioPair):
    """DPO's loss; where policy and soup differ at the start, so do its first margins from 0."""

    kind: ClassVar[str] = "salsa"

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the soup", source="ours", gt=0)


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
