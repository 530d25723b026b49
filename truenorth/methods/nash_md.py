"""Nash-MD: the policy gradient of winning against a mixture of the policy with its reference, less the KL to that.

Paper    Munos et al. 2023, arXiv:2312.00886, its policy gradient form
Read     others: a reading card of the paper; the paper itself was not
Loss     -1/K sum_i A_i log pi(y_i|x),  A_i = P(y_i > y') - 1/2 - tau * log( pi(y_i|x) / pi_ref(y_i|x) ),
         y_i of the policy, y' of the opponent, whose every token is drawn from  pi^(1 - share) * pi_ref^share;
         with A_i held constant: its gradient is that of  P(pi > opponent) - tau KL(pi || pi_ref), the opponent at rest
Recipe   ours: answers drawn anew for every step, so that the gradient is exact; two of the policy, two of the opponent
Differs  in P(y_i > y'), a mean over all of the opponent's answers, and in every constant: the card has only that a
         share of 0.125 to 0.375 did best. The mixture is one at each token. The theory's is one of whole answers,
         pi^(1 - eta tau) * pi_ref^(eta tau) over its sum over all answers, which is another distribution and cannot be
         drawn; they agree where answers have one token. In rounds of several steps the answers are those of the
         policy at the round's start, and no ratio corrects for that. The theory's reference stays. Of one that moves,
         the opponent of the first round after a move is mixed with what it was before, the KL is to what it is since.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..models.references import Frozen
from ..optim.update import AdamW
from ..recipe import Objective, Opponent, Recipe
from ..schedule import Rounds
from ..settings import setting
from ..types import Candidates


class NashMD(Objective):
    """The gradient of winning against the mixture. The loss's value means nothing."""

    kind: ClassVar[str] = "nash_md"
    reads: ClassVar = frozenset({"rewards"})  # the mean wins against the opponent
    candidates: ClassVar = (2, None)
    invariances: ClassVar = frozenset({"permuted_rejected"})

    tau: float = setting(0.05, "weight of the KL to the reference, in wins per nat", source="ours", ge=0)
    reference_share: float = setting(
        0.25, "share of the reference in the opponent; 0: the policy plays itself", source="ours", ge=0, le=1
    )
    opponents: int = setting(2, "answers of the opponent to a prompt, beside the policy's", source="ours", ge=1)

    @property
    def opponent(self) -> Opponent:
        return Opponent(self.opponents, "initial", self.reference_share)

    def __call__(self, candidates: Candidates) -> Tensor:
        return self._surrogate(candidates, candidates.log_ratio("initial").detach())

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.tau * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return self._surrogate(candidates, torch.zeros_like(candidates.policy.total))

    def _surrogate(self, candidates: Candidates, log_ratio: Tensor) -> Tensor:
        """[B]. In float64: advantages nearly add up to nothing, and what is left of large totals is small."""
        assert candidates.rewards is not None
        total = candidates.policy.total
        advantages = candidates.rewards.double() - 0.5 - self.tau * log_ratio.double()
        return -(advantages * total.double()).mean(-1).to(total.dtype)


def recipe(*, learning_rate: float = 1e-6, **settings: Any) -> Recipe:
    """Nash-MD; `settings` are those of `NashMD`."""
    return Recipe(
        method="nash_md",
        objective=NashMD(**settings),
        references={"initial": Frozen()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.05, decay="constant"),
        schedule=Rounds(rounds=100, prompts="batch", k=2),
    )
