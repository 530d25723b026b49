"""A method of one's own, without touching the package: the hinge loss on DPO's margin (SLiC's calibration loss).

truenorth train examples.own_method:recipe --model my-sft --data pairs.jsonl --out runs/hinge --set beta=0.2
"""

from torch import Tensor

from truenorth.models.references import Cached
from truenorth.optim.update import AdamW
from truenorth.recipe import Objective, Recipe
from truenorth.settings import setting
from truenorth.types import Candidates


class Hinge(Objective):
    """max(0, 1 - beta * (r_chosen - r_rejected)),  r = log pi(y|x) - log pi_ref(y|x)."""

    beta: float = setting(0.1, "inverse temperature", source="ours", gt=0)

    def __call__(self, candidates: Candidates) -> Tensor:
        chosen, rejected = self.implicit_rewards(candidates).unbind(-1)
        return (1 - (chosen - rejected)).relu()

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return candidates.policy.total.new_ones(len(candidates.policy.total))


def recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    return Recipe(
        method="examples.own_method:recipe",
        objective=Hinge(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate),
    )
