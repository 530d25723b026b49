"""Self-improving Alignment: DPO whose data are partly the policy's own, with the gradient of that dependence.

Paper    Ding et al. 2024, arXiv:2406.15567
Read     code, reconstructed: the objective, from its three terms
Loss     -log sigmoid(m) of every pair,  m = beta * (r_chosen - r_rejected),  r = log pi(y|x) - log pi_ref(y|x).
         A share of the rows is partly the policy's own: in ddp their labels, in dpp their answers and labels, in dpr
         their answers, and a judge labels them. The policy's label is y1 with probability sigmoid(beta * (r_1 - r_2)).
         On these rows J = E[ log sigmoid(m) ] has a gradient through labels and answers too:
         ddp, dpp   - gradient / 2 * log sigmoid(m)^2
         dpp, dpr   - gradient * ( log sigmoid(m) + log 2 ) * log( pi(y1|x) pi(y2|x) ), the first factor constant;
                    log 2 is a baseline, what log sigmoid(m) is at the start
         so that with gradient = 1 the whole is that of -J, exactly, on answers that are the policy's own.
Recipe   code: learning rate 1e-5, five passes over the rows; AdamW
Differs  from the code in the last term: its hook adds - gradient * log sigmoid(m) / log pi(y|x) to the gradient with
         respect to each answer's log pi(y|x), which has the wrong sign, since log pi < 0, and another scale;
         `sampling_term=released` has it, averaged over prompts as the rest is, which theirs is not. It draws answers
         at temperature 0.9 for every step, here they are those of the policy at the round's start, at temperature 1:
         `schedule.prompts=batch` draws for every step, and only then is the gradient of dpp and dpr exact.
"""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..models.references import Frozen
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..schedule import OwnRows, Rounds
from ..settings import setting
from ..types import Candidates

SHARES = {"ddp": 0.4, "dpp": 0.3, "dpr": 0.3}  # the code's r, p and g
GRADIENTS = {"ddp": 0.2, "dpp": 0.2, "dpr": 0.3}  # its rho, pi and gamma


class SAIL(Objective):
    """DPO, and on a share of the rows the gradient through the policy's own labels or answers."""

    kind: ClassVar[str] = "sail"
    invariances: ClassVar = frozenset({"prompt_shift"})

    beta: float = setting(0.1, "inverse temperature; larger stays nearer to the reference", source="code", gt=0)
    which: Literal["ddp", "dpp", "dpr"] = setting(
        "ddp", "the policy labels the data's pairs, or its own, or a judge its own", source="ours"
    )
    share: float | None = setting(
        None,
        "of the rows that are the policy's own; none: 0.4 of ddp, 0.3 of the others; 0 is DPO",
        source="code",
        ge=0,
        le=1,
    )
    gradient: float | None = setting(
        None, "weight of the gradient through labels and answers; none: 0.2, of dpr 0.3", source="code", ge=0
    )
    sampling_term: Literal["exact", "released"] = setting(
        "exact", "gradient through drawn answers; released: the code's, of another sign", source="ours"
    )

    @property
    def own_rows(self) -> OwnRows:
        share = SHARES[self.which] if self.share is None else self.share
        return OwnRows(share, redrawn=self.which != "ddp", judged=self.which == "dpr")

    def __call__(self, candidates: Candidates) -> Tensor:
        first, second = self.implicit_rewards(candidates).unbind(-1)
        log_chance = logsigmoid(self._labelled(first - second, candidates))
        return -log_chance - self._weight(candidates) * self._through_data(candidates, log_chance)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.beta * candidates.log_ratio("initial")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        labelled = 0.0 if self.which == "dpr" else math.log(2) ** 2 / 2
        return math.log(2) - self._weight(candidates) * labelled

    def _labelled(self, margin: Tensor, candidates: Candidates) -> Tensor:
        """[B] with the sign of the label that the policy drew for its own rows."""
        if self.which == "dpr" or "own" not in candidates.columns:
            return margin
        kept = candidates.columns["label_draw"] < torch.sigmoid(margin.detach())
        return torch.where(kept | (candidates.columns["own"] == 0), margin, -margin)

    def _through_data(self, candidates: Candidates, log_chance: Tensor) -> Tensor:
        """[B] whose gradient is that through labels and answers."""
        through = torch.zeros_like(log_chance) if self.which == "dpr" else log_chance**2 / 2
        if self.which == "ddp":
            return through
        total, constant = candidates.policy.total, log_chance.detach()[:, None]
        signal = constant + math.log(2) if self.sampling_term == "exact" else constant / total.detach()
        return through + (signal * (total - total.detach())).sum(-1)  # the difference is 0: the loss keeps its value

    def _weight(self, candidates: Candidates) -> Tensor:
        """[B] `gradient` on the policy's own rows, 0 on the data's own and on held-out ones."""
        own = candidates.columns.get("own", torch.zeros_like(candidates.policy.total[:, 0]))
        return (GRADIENTS[self.which] if self.gradient is None else self.gradient) * own


def recipe(*, learning_rate: float = 1e-5, **settings: Any) -> Recipe:
    """SAIL; `settings` are those of `SAIL`."""
    return Recipe(
        method="sail",
        objective=SAIL(**settings),
        references={"initial": Frozen()},
        update=AdamW(learning_rate=learning_rate, warmup_share=0.1, decay="linear"),
        schedule=Rounds(rounds=5, compared="rows", k=2),
    )
