"""Self-supervised Preference Optimization: DPO, while a head learns how much was deleted from a response.

Paper    Li et al. 2024, arXiv:2409.17791
Read     reconstructed: only restatements were read
Loss     -log sigmoid( beta * (r_chosen - r_rejected) ) + gamma * (degree_chosen + degree_rejected),
         r = log pi(y|x) - log pi_ref(y|x),
         degree_y = mean over k = 0..levels-1 of the cross-entropy of a linear head with k, on the state of (x, y_k),
         y_0 = y,  y_k = y without a share k * deleted / (levels - 1) of its key phrases
Recipe   ours: AdamW, learning rate 1e-6, cosine after a warm-up over 10 % of the steps; the paper's was not read
Differs  perhaps in much: the paper was read in restatements alone, and its authors published no code. Read there: key
         phrases as of RAKE, deletion of growing shares of them, a cross-entropy of a head on hidden states with the
         level, trained jointly for both responses, beside any loss of pairs. Ours: the levels and shares; gamma; the
         state, which is the one that predicts the response's last token; a linear head, at zero at first, on states
         over the root of their width, with a learning rate of its own; DPO as the loss of pairs; shares of phrases,
         not of words. The final model has no head.
"""

import math
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import log_softmax

from ..contrasts import soft_pair
from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import DegreeHead, Objective, Reads, Recipe
from ..settings import setting
from ..types import Candidates


class SPO(Objective):
    """DPO's loss, and the cross-entropies of the head with the levels of both responses' versions."""

    kind: ClassVar[str] = "spo"
    reads: ClassVar[frozenset[Reads]] = frozenset({"degrees"})
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="ours", gt=0)
    gamma: float = setting(0.1, "weight of the degree's loss; 0 is DPO, without a head", source="ours", ge=0)
    levels: int = setting(3, "of deletion, 0 among them; 1 is DPO, without a head", source="ours", ge=1)
    deleted: float = setting(0.5, "share of the key phrases that the last version lacks", source="ours", gt=0, le=1)
    head_learning_rate: float = setting(1e-2, "of the head at its peak, on the update's schedule", source="ours", gt=0)

    @property
    def degree_head(self) -> DegreeHead | None:
        if self.gamma == 0 or self.levels == 1:
            return None
        shares = (self.deleted * level / (self.levels - 1) for level in range(1, self.levels))
        return DegreeHead(tuple(shares), self.head_learning_rate)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        loss = soft_pair(chosen - rejected, 1.0)
        if self.degree_head is None:
            return loss
        assert candidates.degrees is not None  # `degree_head` has asked for them
        return loss + self.gamma * degree_loss(candidates.degrees).sum(-1)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        """The head is at zero: every level is as likely."""
        b, k = candidates.policy.total.shape
        degree = 0.0 if self.degree_head is None else self.gamma * k * math.log(self.levels)
        return candidates.policy.total.new_full((b,), math.log(2) + degree)


def degree_loss(logits: Tensor) -> Tensor:
    """[B, K, L, L] -> [B, K] nats: the mean cross-entropy of a response's versions with their levels."""
    return -log_softmax(logits, dim=-1).diagonal(dim1=-2, dim2=-1).mean(-1)


def recipe(*, learning_rate: float = 1e-6, levels: int = 3, **settings: float) -> Recipe:
    """SPO; `levels` and `settings` are those of `SPO`."""
    return Recipe(
        method="spo",
        objective=SPO(levels=levels, **settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )
