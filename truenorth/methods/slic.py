"""Sequence Likelihood Calibration with human feedback (SLiC-HF).

Paper    Zhao et al. 2023, arXiv:2305.10425
Read     memory
Loss     max(0, delta - log pi(chosen|x) + log pi(rejected|x)) - sft_weight * log pi(chosen|x)
Recipe   ours: AdamW, learning rate 1e-6, cosine after a warm-up over 10 % of the steps
Differs  in the response that keeps the model near its start, the paper's y_ref, the SFT target or the best-ranked
         sample there: ours is the chosen one, so pairs are enough. The formula is remembered, not read in the paper;
         its delta and weight were not found. What TRL calls hinge is not this but the loss of `rso`.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import relu

from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class SLiC(Objective):
    """Hinge loss of the log-probabilities, and the likelihood of the chosen response."""

    kind: ClassVar[str] = "slic"
    references: ClassVar[tuple[str, ...]] = ()

    delta: float = setting(1.0, "margin to win by, in nats", source="ours", ge=0)
    sft_weight: float = setting(0.1, "weight of the chosen response's likelihood", source="ours", ge=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = candidates.policy.total.unbind(-1)
        return relu(self.delta - chosen + rejected) - self.sft_weight * chosen

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return candidates.policy.total


def recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """SLiC-HF; `settings` are those of `SLiC`."""
    return Recipe(
        method="slic",
        objective=SLiC(**settings),
        references={},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )
