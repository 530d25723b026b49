"""Alignment with Integrated Human Feedback, in its closed form: learning from pairs and from demonstrations at once.

Paper    Li et al. 2024, arXiv:2406.06874
Read     reconstructed
Loss     -preference_weight * log sigmoid( beta * (r_chosen - r_rejected) )  on a row with two responses,
         -demonstration_weight * log pi(y|x)  on a row with one, summed over its tokens,
         r = log pi(y|x) - log pi_ref(y|x)
Recipe   ours: AdamW, learning rate 5e-7, cosine after a warm-up over 10 % of the steps, as for RPO
Differs  in what it is. The paper learns a reward from both kinds of data and the policy by sampling from it, in turns;
         this is the form without sampling that it gives beside that, where the reward is the policy's own. The formula
         is reconstructed from the paper's two expectations, not read; weights, beta and recipe are ours. Each row
         counts the same, so that the kinds weigh as their numbers of rows do: `--data pairs.jsonl demos.jsonl:0.5`
         takes half of the demonstrations. The form with self-play is aihf_selfplay.
"""

import math
from typing import ClassVar

import torch
from pydantic import model_validator
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..errors import SettingsError
from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..settings import setting
from ..types import Candidates


class AIHF(Objective):
    """DPO on pairs, and the likelihood of demonstrations."""

    kind: ClassVar[str] = "aihf"
    candidates: ClassVar[tuple[int, int | None]] = (1, 2)
    demonstrations: ClassVar[bool] = True

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="ours", gt=0)
    demonstration_weight: float = setting(0.01, "of a demonstration's likelihood; 0 is DPO", source="ours", ge=0)
    preference_weight: float = setting(1.0, "of a pair's loss; 0 is SFT, summed over tokens", source="ours", ge=0)

    @model_validator(mode="after")
    def _something_is_learnt(self) -> "AIHF":
        refuse_no_weight(self.demonstration_weight, self.preference_weight)
        return self

    def __call__(self, candidates: Candidates) -> Tensor:
        if is_demonstration(candidates):
            return -self.demonstration_weight * candidates.policy.total[:, 0]
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return -self.preference_weight * logsigmoid(chosen - rejected)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        if is_demonstration(candidates):
            return -self.demonstration_weight * candidates.references["initial"].total[:, 0]
        return torch.full_like(candidates.policy.total[:, 0], self.preference_weight * math.log(2))


def refuse_no_weight(demonstrations: float, pairs: float) -> None:
    """Raise SettingsError where neither kind of rows counts."""
    if demonstrations == pairs == 0:
        raise SettingsError("demonstration_weight and preference_weight are both 0: nothing would be learnt.")


def is_demonstration(candidates: Candidates) -> bool:
    """Whether the rows have one response each; a micro-batch has rows of one kind."""
    return candidates.policy.total.shape[1] == 1


def recipe(*, learning_rate: float = 5e-7, **settings: float) -> Recipe:
    """AIHF; `settings` are those of `AIHF`."""
    return Recipe(
        method="aihf",
        objective=AIHF(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="cosine"),
    )
