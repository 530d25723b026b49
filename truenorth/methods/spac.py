"""Self-Play with Adversarial Critic: iterative DPO on pairs of the data, held down on the policy's own answers.

Paper    Ji et al. 2024, arXiv:2406.04274
Read     others: a note on its algorithm; the practical psi, and every constant, reconstructed
Loss     -log sigmoid( beta * (r_chosen - r_rejected) ) + penalty * psi( beta * r_sample ),
         r = log pi(y|x) - log pi_round(y|x);  beta is its 1/eta, penalty its 1/lambda, and the sample one answer of
         the round's policy, which nobody judges
Recipe   ours: AdamW, three rounds, each a pass over all rows; the reference is the policy at the round's start
Differs  in all that was not read. psi(u) = u is its theory's; in practice psi is smooth and bounded below, here
         softplus, log(1 + e^u), so that a rare answer is not pushed down for ever. The chosen and the rejected answer,
         which the paper's term can hold too, are not in it.
"""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..contrasts import soft_pair
from ..models.references import Moving
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..schedule import Rounds
from ..settings import setting
from ..types import Candidates


class SPAC(Objective):
    """DPO against the round's policy, and a critic that trusts none of its own answers."""

    kind: ClassVar[str] = "spac"
    references: ClassVar = ("round",)
    sample: ClassVar = "policy"
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the round's policy", source="ours", gt=0)
    penalty: float = setting(0.01, "weight of the policy's own answers; 0 is iterative DPO", source="ours", ge=0)
    psi: Literal["softplus", "linear"] = setting(
        "softplus", "of what the policy gained on its own answer; linear: as in the theory", source="ours"
    )

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        loss = soft_pair(chosen - rejected, 1.0)
        if "sample" not in candidates.roles:  # held-out rows
            return loss
        gained = self.beta * candidates.roles["sample"].log_ratio("round")  # [B, M]
        return loss + self.penalty * (gained if self.psi == "linear" else softplus(gained)).mean(-1)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("round")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        at_zero = math.log(2) if self.psi == "softplus" and "sample" in candidates.roles else 0.0
        return torch.full_like(candidates.policy.total[:, 0], math.log(2) + self.penalty * at_zero)


def recipe(*, learning_rate: float = 5e-7, **settings: Any) -> Recipe:
    """SPAC; `settings` are those of `SPAC`."""
    return Recipe(
        method="spac",
        objective=SPAC(**settings),
        references={"round": Moving(every=1, unit="rounds", share=1)},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
        schedule=Rounds(rounds=3, compared="rows", k=1),
    )
