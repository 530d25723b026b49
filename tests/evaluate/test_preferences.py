"""What is measured on held-out rows."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.tiny import rows_of, tiny_model
from truenorth.data.tokens import TokenizedRow, TokenizedRows
from truenorth.evaluate.preferences import held_out
from truenorth.methods.dpo import DPO
from truenorth.models.policy import Policy
from truenorth.recipe import Objective
from truenorth.train.step import Player
from truenorth.types import Candidates

SHAPES = [(6, (5, 3)), (4, (7, 2)), (9, (4, 4)), (3, (2, 6))]


class Centred(DPO):
    """Compares each chosen response with the mean log-ratio of the step, as KTO's baseline does."""

    scope = "step"

    def __call__(self, candidates: Candidates) -> Tensor:
        assert candidates.step is not None
        return -(candidates.log_ratio()[:, 0] - candidates.step.log_ratio["initial"].mean()).sigmoid()

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], -0.5)


def measured(rows: list[TokenizedRow], objective: Objective, *, budget: int = 1000) -> dict[str, float]:
    policy, reference = (Policy.of(tiny_model(seed=seed), "float32") for seed in (0, 1))
    named = dict(policy.model.named_parameters())
    player = Player(policy.log_probs, objective, torch.optim.SGD(named.values(), lr=0.1), named, None)
    return held_out(player, TokenizedRows.of(rows), {"initial": reference.log_probs}, budget=budget)


def close(ours: dict[str, float], theirs: dict[str, float]) -> bool:
    """Alike but for float32 sums in another order."""
    return ours.keys() == theirs.keys() and all(abs(ours[name] - theirs[name]) <= 1e-5 for name in ours)


@pytest.mark.parametrize("objective", [DPO(), Centred()])
def test_weight_zero_is_leaving_the_row_out_of_the_evaluation(objective: Objective) -> None:
    rows = rows_of(SHAPES)
    weighted = [replace(row, columns={"weight": float(i % 2)}) for i, row in enumerate(rows)]
    found = measured(weighted, objective)
    assert found["count"] == 2
    assert close(found, measured(rows[1::2], objective))


@pytest.mark.parametrize("budget", [1, 20])
def test_an_objective_that_couples_rows_sees_all_held_out_rows_however_they_are_split(budget: int) -> None:
    rows = rows_of(SHAPES)
    split = measured(rows, Centred(), budget=budget)
    assert split["count"] == len(rows)
    assert close(split, measured(rows, Centred()))
