"""DPO with an offset: the margin grows with the distance of the scores.

Paper    Amini et al. 2024, arXiv:2402.10571
Read     code
Loss     -log sigmoid( beta * (r_chosen - r_rejected) - alpha * log(score_chosen - score_rejected) ),
         r = log pi(y|x) - log pi_ref(y|x)
Recipe   code: RMSprop, learning rate 5e-7 after 150 steps of warm-up, constant, clip 10, beta as on TL;DR
Differs  in nothing where the scores differ. At a tie the offset would be minus infinity; ours stops at the smallest
         number of the dtype, so a tie has a loss of nearly 0. Scores less than 1 apart have an offset below 0, which
         asks for less than DPO does: give them in units in which 1 is a clear difference. Warm-up and clip are those
         of the DPO code that theirs is built on.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..models.references import Cached
from ..optim.update import RMSprop
from ..recipe import Objective, Reads, Recipe
from ..settings import setting
from ..types import Candidates


class ODPO(Objective):
    """DPO's loss with a margin to win by: the logarithm of the difference of the scores."""

    kind: ClassVar[str] = "odpo"
    reads: ClassVar[frozenset[Reads]] = frozenset({"rewards"})
    invariances: ClassVar = frozenset({"prompt_shift", "reward_shift"})

    beta: float = setting(0.5, "inverse temperature; larger stays nearer to the reference", source="paper", gt=0)
    alpha: float = setting(1.0, "weight of the offset; 0 is DPO", source="paper", ge=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return -logsigmoid(chosen - rejected - self.offset(candidates))

    def offset(self, candidates: Candidates) -> Tensor:
        """[B] nats that the chosen response has to win by."""
        assert candidates.rewards is not None  # `reads` has asked for them
        chosen, rejected = candidates.rewards.unbind(-1)
        tie = torch.finfo(candidates.rewards.dtype).tiny
        return self.alpha * (chosen - rejected).clamp(min=tie).log()

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return -logsigmoid(-self.offset(candidates))


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """ODPO; `settings` are those of `ODPO`."""
    return Recipe(
        method="odpo",
        objective=ODPO(**settings),
        references={"initial": Cached()},
        update=RMSprop(learning_rate=learning_rate, warmup_steps=150, decay="constant", max_grad_norm=10.0),
    )
