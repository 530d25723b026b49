"""General preference models: who wins, of two answers read together, with no assumption that one number ranks them.

Paper    Munos et al. 2023, arXiv:2312.00886
Read     memory
Loss     -1/2 log sigmoid( s(x, better, worse) ) - 1/2 log sigmoid( -s(x, worse, better) ),  s = w . h(x, y, y');
         judged by  P(y beats y') = 1/2 [ sigmoid(s(x, y, y')) + 1 - sigmoid(s(x, y', y)) ]
Recipe   ours: AdamW, learning rate 1e-5, cosine after a warm-up over 5 % of the steps
Differs  in the input: theirs is a text that asks a model which answer is better; ours is the prompt and both answers
         one behind the other, each with the token that ends it, and a linear head on the last state, at 0 at first.
         Every pair is read in both orders, so that P + P^T = 1 whatever the model makes of the first or second place.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..contrasts import soft_pair
from ..optim.update import AdamW
from ..recipe import Objective, Reads, Recipe, ScoreHead
from ..settings import setting
from ..types import Candidates
from .reward import first_wins


class Preference(Objective):
    """Cross-entropy of both orders of a pair. `candidates.policy.total` holds s of the chosen first, then last."""

    kind: ClassVar[str] = "preference"
    references: ClassVar[tuple[str, ...]] = ()
    reads_if_given: ClassVar[frozenset[Reads]] = frozenset({"rewards"})
    invariances: ClassVar = frozenset({"reward_shift"})

    head_learning_rate: float = setting(1e-2, "of the head at its peak, on the update's schedule", source="ours", gt=0)

    @property
    def score_head(self) -> ScoreHead:
        return ScoreHead("orders", self.head_learning_rate)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen_first, chosen_last = candidates.policy.total.unbind(-1)
        target = first_wins(candidates)[:, 0, 1].to(chosen_first)  # 1/2 of a tie
        return 0.5 * soft_pair(chosen_first, target) + 0.5 * soft_pair(-chosen_last, target)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        """[B, 2] half the log odds of winning, and minus that: their difference is the log odds."""
        first, last = candidates.policy.total.unbind(-1)
        win = torch.logaddexp(logsigmoid(first), logsigmoid(-last))
        loss = torch.logaddexp(logsigmoid(-first), logsigmoid(last))
        half = 0.5 * (win - loss)
        return torch.stack([half, -half], -1)

    def wins(self, candidates: Candidates) -> Tensor:
        chosen_first, chosen_last = candidates.policy.total.unbind(-1)
        p = 0.5 * (torch.sigmoid(chosen_first) + torch.sigmoid(-chosen_last))
        even = torch.full_like(p, 0.5)
        return torch.stack([even, p, 1 - p, even], -1).unflatten(-1, (2, 2))

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


def recipe(*, learning_rate: float = 1e-5, **settings: float) -> Recipe:
    """A pairwise preference model; `settings` are those of `Preference`."""
    return Recipe(
        method="preference",
        objective=Preference(**settings),
        update=AdamW(learning_rate=learning_rate, warmup_share=0.05, decay="cosine"),
    )
