"""Reward models: a score for each answer, whose differences are the log odds of winning.

Paper    Ouyang et al. 2022, arXiv:2203.02155
Read     memory
Loss     Eq. 1:  -1/(K choose 2) * sum over pairs of log sigmoid( r_better - r_worse ),  r = w . h(x, y)
Recipe   ours: AdamW, the paper's learning rate of 9e-6 as remembered, cosine after a warm-up over 5 % of the steps
Differs  in ties, which count as half a win of each side; in the head, which starts at 0 and has a learning rate of its
         own; the state h is the one at the answer's last token, over the root of its width. The scores' mean is not
         set to 0: adding a number to all of a prompt's scores changes nothing.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..contrasts import soft_pair
from ..optim.update import AdamW
from ..recipe import Objective, Reads, Recipe, ScoreHead
from ..settings import setting
from ..types import Candidates


class ScoreObjective(Objective):
    """Abstract: a loss of scores in place of log-probs. `candidates.policy.total` holds them, in nats of log odds."""

    references: ClassVar[tuple[str, ...]] = ()
    candidates: ClassVar[tuple[int, int | None]] = (2, None)
    reads_if_given: ClassVar[frozenset[Reads]] = frozenset({"rewards"})

    head_learning_rate: float = setting(1e-2, "of the head at its peak, on the update's schedule", source="ours", gt=0)

    @property
    def score_head(self) -> ScoreHead:
        return ScoreHead("answers", self.head_learning_rate)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return candidates.policy.total

    def wins(self, candidates: Candidates) -> Tensor:
        scores = self.implicit_rewards(candidates)
        return torch.sigmoid(scores[:, :, None] - scores[:, None, :])


class Reward(ScoreObjective):
    """Cross-entropy of the Bradley-Terry model with every pair of a prompt's answers."""

    kind: ClassVar[str] = "reward"
    invariances: ClassVar = frozenset({"prompt_shift", "permuted_rejected", "reward_shift"})

    def __call__(self, candidates: Candidates) -> Tensor:
        first, second = torch.triu_indices(*[candidates.policy.total.shape[1]] * 2, offset=1).unbind()
        scores = self.implicit_rewards(candidates)
        margin = scores[:, first] - scores[:, second]
        return soft_pair(margin, first_wins(candidates)[:, first, second].to(margin)).mean(-1)

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], math.log(2))


class PlackettLuce(ScoreObjective):
    """Probability of the whole ranking: the best is chosen among all, the second among the rest, and so on.

    Paper    Zhu et al. 2023, arXiv:2301.11270
    Read     memory
    Loss     -sum over k of log( exp r_k / sum over answers not better than k of exp r ),  r = w . h(x, y)
    Recipe   ours: as of `reward`
    Differs  in ties, which are chosen from the same rest (Breslow's approximation); in the head, as `reward` does.
    """

    kind: ClassVar[str] = "reward_plackett_luce"
    invariances: ClassVar = frozenset({"prompt_shift", "permuted_rejected", "reward_shift"})

    def __call__(self, candidates: Candidates) -> Tensor:
        scores = self.implicit_rewards(candidates)
        better = first_wins(candidates).transpose(1, 2) == 1  # [B, K, K] whether the column beats the row
        rest = scores[:, None, :].masked_fill(better, -torch.inf).logsumexp(-1)
        return (rest - scores).sum(-1)

    def initial_loss(self, candidates: Candidates) -> Tensor:
        """log of the size of each rest: log K! where there are no ties."""
        worse_or_equal = (first_wins(candidates) >= 0.5).sum(-1)
        return worse_or_equal.to(candidates.policy.total).log().sum(-1)


def first_wins(candidates: Candidates) -> Tensor:
    """[B, K, K] 1 where the row is better than the column, 1/2 where they tie, by the data's scores; without them by
    their order, best first."""
    total, rewards = candidates.policy.total, candidates.rewards
    if rewards is None:
        rewards = -torch.arange(total.shape[1], device=total.device).expand_as(total)
    return 0.5 * ((rewards[:, :, None] - rewards[:, None, :]).sign() + 1)


def _recipe(objective: ScoreObjective, learning_rate: float) -> Recipe:
    update = AdamW(learning_rate=learning_rate, warmup_share=0.05, decay="cosine")
    return Recipe(method=objective.kind, objective=objective, update=update)


def recipe(*, learning_rate: float = 9e-6, **settings: float) -> Recipe:
    """A reward model from pairs or K answers; `settings` are those of `Reward`."""
    return _recipe(Reward(**settings), learning_rate)


def plackett_luce_recipe(*, learning_rate: float = 9e-6, **settings: float) -> Recipe:
    """A reward model from rankings; `settings` are those of `PlackettLuce`."""
    return _recipe(PlackettLuce(**settings), learning_rate)
