"""DiscoPOP: a loss that a language model found, logistic for lost pairs and exponential for won ones.

Paper    Lu et al. 2024, arXiv:2406.08414, its log-ratio modulated loss (LRML)
Read     others: TRL, which cites the paper
Loss     (1 - w) * -log sigmoid(m) + w * exp(-m),  w = sigmoid(m / tau),  m = beta * (r_chosen - r_rejected),
         r = log pi(y|x) - log pi_ref(y|x)
Recipe   code: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps
Differs  in nothing but how w exp(-m) is computed: as exp(log w - m), which neither overflows nor is 0 times infinity.
         The formula and tau are those of TRL, which cites the paper; beta and schedule are the authors' configuration.
         At the paper's tau the loss rises for margins from -0.12 to 0.07, the start among them: there a step pushes
         margins down to a first minimum, and only pairs beyond 0.07 go on to win.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class DiscoPOP(Objective):
    """Logistic loss where the policy prefers the rejected response, exponential loss where it does not."""

    kind: ClassVar[str] = "discopop"
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.05, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)
    tau: float = setting(
        0.05, "width of the passage between the two", source="paper", why="else lost pairs do not pull", gt=0, lt=1
    )

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        margin = chosen - rejected
        logistic = torch.sigmoid(-margin / self.tau) * -logsigmoid(margin)
        exponential = torch.exp(logsigmoid(margin / self.tau) - margin)
        return logistic + exponential

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], (1 + math.log(2)) / 2)


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """DiscoPOP; `settings` are those of `DiscoPOP`."""
    return Recipe(
        method="discopop",
        objective=DiscoPOP(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )
