"""Self-Exploring Language Models: iterative DPO with a bonus for going where the round's policy would not.

Paper    Zhang et al. 2024, arXiv:2405.19332
Read     paper, code
Loss     -log sigmoid( beta * (r_chosen - r_rejected) ) + alpha * beta * r_sample,
         r = log pi(y|x) - log pi_round(y|x); the sample is the round's policy's own likeliest answer, and the pair the
         best and the worst of it and the data's two, as a judge ranks the three
Recipe   code: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps, three rounds, each over its
         third of the rows
Differs  in the learning rate, which in their last round is 1e-7; in the judge, theirs is PairRM; and in the start:
         theirs for Zephyr had a round of DPO. alpha is that of Zephyr and Phi-3, for Llama-3 it is 1e-4; their
         pseudocode prints it without beta, derivation and code are as here. log pi_round of the sample is a constant,
         there so that the loss starts at log 2.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..contrasts import soft_pair
from ..models.references import Moving
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..schedule import Rounds
from ..settings import setting
from ..types import Candidates


class SELM(Objective):
    """DPO against the round's policy, and a pull away from what it would answer."""

    kind: ClassVar[str] = "selm"
    references: ClassVar = ("round",)
    sample: ClassVar = "policy"
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.01, "inverse temperature; larger stays nearer to the round's policy", source="code", gt=0)
    alpha: float = setting(0.001, "weight of the exploration, times beta; 0 is iterative DPO", source="code", ge=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return soft_pair(chosen - rejected, 1.0) + self.alpha * self.beta * log_ratio_of_sample(candidates, "round")

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("round")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


def log_ratio_of_sample(candidates: Candidates, reference: str) -> Tensor:
    """[B] nats, mean over the sample; 0 where nothing was drawn, as of held-out rows."""
    if "sample" not in candidates.roles:
        return torch.zeros_like(candidates.policy.total[:, 0])
    return candidates.roles["sample"].log_ratio(reference).mean(-1)


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """SELM; `settings` are those of `SELM`."""
    return Recipe(
        method="selm",
        objective=SELM(**settings),
        references={"round": Moving(every=1, unit="rounds", share=1)},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
        schedule=Rounds(rounds=3, compared="both", prompts="share", k=1, temperature=0.0),
    )
