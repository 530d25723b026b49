"""Aligned Supervised Fine-Tuning: each response's likelihood for itself, without comparison or reference.

Paper    Wang et al. 2024, arXiv:2409.10571; align_weight is its lambda
Read     others: a study that derives it
Loss     -log p(chosen) - align_weight * ( log sigmoid( log_odds(chosen) ) + log sigmoid( -log_odds(rejected) ) ),
         log p(y) = log pi(y|x) / |y|,  log_odds(y) = log( p(y) / (1 - p(y)) ),  |y| tokens of a response;
         equal to -(1 + align_weight) log p(chosen) - align_weight log(1 - p(rejected))
Recipe   ours: AdamW, learning rate 1e-6, linear after a warm-up over 10 % of the steps, for a model fine-tuned before;
         from a base model 6e-6 to 1e-5 did best in the study of Gorbatovski et al. 2025 (arXiv:2502.01237)
Differs  near p = 1 as ORPO does. Reconstructed from that study, which derives the formula: the authors' own settings
         and code were not read. The study ranks ASFT below ORPO and DPO, the paper above them.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates
from .orpo import log_odds


class ASFT(Objective):
    """The chosen response's likelihood per token, and two classifications: the chosen is good, the rejected is not."""

    kind: ClassVar[str] = "asft"
    references: ClassVar[tuple[str, ...]] = ()

    align_weight: float = setting(1.0, "weight of the classifications beside fine-tuning", source="ours", ge=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        align = -logsigmoid(chosen) - logsigmoid(-rejected)
        return -candidates.policy.mean[:, 0] + self.align_weight * align

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return log_odds(candidates.policy.mean)


def recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """ASFT; `settings` are those of `ASFT`."""
    return Recipe(
        method="asft",
        objective=ASFT(**settings),
        references={},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1),
    )
