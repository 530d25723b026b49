"""Self-Play Preference Optimization: each response's log-ratio is fitted to its win rate.

Paper    Wu et al. 2024, arXiv:2405.00675, Eq. 4.7; beta is 1 over its eta
Read     code
Recipe   code: RMSprop, learning rate 5e-7, linear after a warm-up over 10 % of the steps
Differs  sppo_hard in the win rates: labels stand for them, 1 and 0, as in TRL's sppo_hard. sppo in how they are
         estimated: against the prompt's other answers alone, where the paper counts an answer against itself too, as
         1/2; and in the judge, theirs is PairRM. Both fit the best and the worst answer, as the code does.
"""

from typing import ClassVar

import torch
from torch import Tensor

from ..models.references import Cached, Moving
from ..optim.update import RMSprop
from ..recipe import Objective, Recipe
from ..schedule import Rounds
from ..settings import setting
from ..types import Candidates


class SPPO(Objective):
    """SPPO: played in rounds, with win rates of a judge of pairs.

    Loss     sum over the best and the worst answer of  ( r - (P(y beats the others) - 1/2) / beta )^2,
             r = log pi(y|x) - log pi_round(y|x)
    """

    kind: ClassVar[str] = "sppo"
    references: ClassVar = ("round",)
    reads: ClassVar = frozenset({"wins"})
    candidates: ClassVar = (2, None)

    beta: float = setting(0.001, "1 over eta: a win rate of 1 stands for 1 / (2 beta) nats", source="code", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        apart = candidates.log_ratio("round") - self._goals(candidates)
        return apart[:, 0] ** 2 + apart[:, -1] ** 2

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("round")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        goals = self._goals(candidates)
        return goals[:, 0] ** 2 + goals[:, -1] ** 2

    def _goals(self, candidates: Candidates) -> Tensor:
        """[B, K] nats."""
        assert candidates.wins is not None
        k = candidates.wins.shape[-1]
        return ((candidates.wins.sum(-1) - 0.5) / (k - 1) - 0.5) / self.beta


class SPPOHard(Objective):
    """SPPO from labels: squared distances of both log-ratios from what a certain win and a certain loss stand for.

    Loss     ( r_chosen - 1 / (2 beta) )^2 + ( r_rejected + 1 / (2 beta) )^2,  r = log pi(y|x) - log pi_ref(y|x)
    """

    kind: ClassVar[str] = "sppo_hard"

    beta: float = setting(0.001, "1 over twice the log-ratio to reach, in nats", source="code", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = candidates.log_ratio("initial").unbind(-1)
        goal = 1 / (2 * self.beta)
        return (chosen - goal) ** 2 + (rejected + goal) ** 2

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], 2 / (2 * self.beta) ** 2)


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """SPPO from labels; `settings` are those of `SPPOHard`."""
    return Recipe(
        method="sppo_hard",
        objective=SPPOHard(**settings),
        references={"initial": Cached()},
        update=_update(learning_rate),
    )


def rounds_recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """SPPO in rounds; `settings` are those of `SPPO`."""
    return Recipe(
        method="sppo",
        objective=SPPO(**settings),
        references={"round": Moving(every=1, unit="rounds", share=1)},
        update=_update(learning_rate),
        schedule=Rounds(k=5, rounds=3),
    )


def _update(learning_rate: float) -> RMSprop:
    return RMSprop(learning_rate=learning_rate, warmup_share=0.1, decay="linear")
