"""Length-desensitized DPO: what a response is longer than the other one counts less.

Paper    Liu et al. 2024, arXiv:2409.06411
Read     others: TRL, which cites the paper
Loss     -log sigmoid( beta * (r_chosen - r_rejected) ),  r = log pi_LD(y|x) - log pi_ref,LD(y|x),
         log pi_LD(y|x) = sum over t <= l of log pi(y_t) + alpha * sum over t > l of log pi(y_t),
         l tokens of the shorter response
Recipe   ours: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps, beta as in DPO
Differs  perhaps in the defaults: of the paper only the abstract was read. The formula is the one that TRL 1.16 gives
         as the paper's, `ld_alpha`, and was read there; EOS counts as a token, as there. Alpha is the paper's own
         setting, for which no default was found, also not in TRL: ours is the middle.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Reads, Recipe
from ..settings import setting
from ..types import Candidates, LogProbs


class LDDPO(Objective):
    """DPO's loss on log-probs in which the tokens past the shorter response's length count `alpha`."""

    kind: ClassVar[str] = "ld_dpo"
    reads: ClassVar[frozenset[Reads]] = frozenset({"tokens"})

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="ours", gt=0)
    alpha: float = setting(0.5, "what a token past the shorter length counts; 1 is DPO", source="ours", ge=0, le=1)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return -logsigmoid(chosen - rejected)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        policy, initial = candidates.policy, candidates.references["initial"]
        return self.beta * (desensitized(policy, self.alpha) - desensitized(initial, self.alpha))

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


def desensitized(log_probs: LogProbs, alpha: float) -> Tensor:
    """[B, K] nats: each token past the length of its prompt's shortest response counts `alpha`."""
    assert log_probs.tokens is not None  # `reads` has asked for them
    tokens, owner, length = log_probs.tokens, log_probs.owner, log_probs.length.long()
    first = length.flatten().cumsum(0) - length.flatten()  # [B * K] places of the responses' first tokens
    place = torch.arange(len(tokens), device=tokens.device) - first[owner]  # [N] in the response, from 0
    shared = length.amin(1, keepdim=True).expand_as(length).flatten()  # [B * K]
    counted = torch.where(place < shared[owner], tokens, alpha * tokens)
    zeros = torch.zeros(length.numel(), dtype=torch.float64, device=tokens.device)
    return zeros.index_add(0, owner, counted.double()).to(tokens.dtype).view_as(length)


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """LD-DPO; `settings` are those of `LDDPO`."""
    return Recipe(
        method="ld_dpo",
        objective=LDDPO(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )
