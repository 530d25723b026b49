"""The hinge loss of RSO, Statistical Rejection Sampling Optimization.

Paper    Liu et al. 2023, arXiv:2309.06657, its hinge-norm loss; beta is its gamma
Read     others: TRL, which calls it hinge
Loss     max(0, 1 - beta * (r_chosen - r_rejected)),  r = log pi(y|x) - log pi_ref(y|x)
Recipe   ours: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps
Differs  in what is left out: the paper draws its pairs by rejection sampling, ours are those of the data. This is
         what TRL calls hinge. The formula is TRL's; it and beta are remembered from the paper, not read there.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import relu

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class RSO(Objective):
    """SLiC's hinge on ratios to the reference, DPO's margin: pairs that win by 1 are left alone."""

    kind: ClassVar[str] = "rso"
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.05, "inverse temperature; 1 / beta nats to win by", source="ours", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return relu(1 - (chosen - rejected))

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.ones_like(candidates.policy.total[:, 0])


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """The hinge loss of RSO; `settings` are those of `RSO`."""
    return Recipe(
        method="rso",
        objective=RSO(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )
