"""REINFORCE Leave-One-Out: the policy gradient of reward less KL, with the prompt's other answers as the baseline.

Paper    Ahmadian et al. 2024, arXiv:2402.14740
Read     memory
Loss     -1/K sum_i A_i log pi(y_i|x),  A_i = R_i - mean of the others' R,
         R_i = r_i - beta * log( pi(y_i|x) / pi_ref(y_i|x) ),
         with A_i held constant: its gradient is that of  E_pi[ r ] - beta KL(pi || pi_ref)  where the y_i are the
         policy's own
Recipe   ours: answers drawn anew for every step, so that the gradient is exact; four to a prompt
Differs  in nothing that is known to us, at `schedule.prompts=batch` and one epoch. In rounds of several steps the
         answers are those of the policy at the round's start, and no ratio corrects for that: mpo has one.
"""

from typing import ClassVar

import torch
from torch import Tensor

from ..contrasts import leave_one_out
from ..models.references import Frozen
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..schedule import Rounds
from ..settings import setting
from ..types import Candidates


class LeaveOneOut(Objective):
    """Abstract: the policy gradient, whatever the reference is. The loss's value means nothing, its gradient does."""

    reads: ClassVar = frozenset({"rewards"})
    candidates: ClassVar = (2, None)
    invariances: ClassVar = frozenset({"prompt_shift", "permuted_rejected", "reward_shift"})

    beta: float = setting(0.05, "weight of the KL to the reference, in rewards per nat", source="ours", ge=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        return self._surrogate(candidates, candidates.log_ratio("initial").detach())

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return self._surrogate(candidates, torch.zeros_like(candidates.policy.total))

    def _surrogate(self, candidates: Candidates, log_ratio: Tensor) -> Tensor:
        """[B]. In float64: advantages add up to nothing, and what is left of large totals is small."""
        assert candidates.rewards is not None
        total = candidates.policy.total
        advantages = leave_one_out(candidates.rewards.double() - self.beta * log_ratio.double())
        return -(advantages * total.double()).mean(-1).to(total.dtype)


class RLOO(LeaveOneOut):
    """The policy gradient of reward less KL to the policy's start."""

    kind: ClassVar[str] = "rloo"


def recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """RLOO; `settings` are those of `RLOO`."""
    return Recipe(
        method="rloo",
        objective=RLOO(**settings),
        references={"initial": Frozen()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.05, decay="constant"),
        schedule=Rounds(rounds=100, prompts="batch", k=4),
    )
