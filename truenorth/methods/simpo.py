"""Simple Preference Optimization: no reference, and rewards per token.

Paper    Meng et al. 2024, arXiv:2405.14734
Read     code
Loss     Eq. 6:  -log sigmoid( beta / |chosen| log pi(chosen|x) - beta / |rejected| log pi(rejected|x) - gamma ),
         |y| tokens of a response, gamma = gamma_over_beta * beta
Recipe   code: AdamW, learning rate 6e-7, cosine after a warm-up over 10 % of the steps (Llama-3 8B Base)
Differs  in nothing; gamma is given as a share of beta, as the paper tunes it. The defaults are
         those of Llama-3 8B Base; the best ones differ much between models: beta 2 to 10, gamma_over_beta 0.1 to 0.8,
         learning rate 3e-7 to 1e-6.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class SimPO(Objective):
    """DPO's loss on log-probabilities per token, with a margin that the chosen response has to win by."""

    kind: ClassVar[str] = "simpo"
    references: ClassVar[tuple[str, ...]] = ()

    beta: float = setting(2.0, "scale of the log-probabilities per token", source="code", gt=0)
    gamma_over_beta: float = setting(0.5, "margin to win by, in nats per token", source="code", ge=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        gamma = self.gamma_over_beta * self.beta
        return -logsigmoid(chosen - rejected - gamma)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.policy.mean


def recipe(*, learning_rate: float = 6e-7, **settings: float) -> Recipe:
    """SimPO; `settings` are those of `SimPO`."""
    return Recipe(
        method="simpo",
        objective=SimPO(**settings),
        references={},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )
