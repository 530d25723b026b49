"""What is measured on held-out rows."""

from dataclasses import replace

import torch

from tests.tiny import rows_of, tiny_model
from truenorth.data.tokens import TokenizedRow, TokenizedRows
from truenorth.evaluate.preferences import held_out
from truenorth.methods.dpo import DPO
from truenorth.models.policy import Policy
from truenorth.recipe import Objective
from truenorth.train.step import Player

SHAPES = [(6, (5, 3)), (4, (7, 2)), (9, (4, 4)), (3, (2, 6))]


def measured(rows: list[TokenizedRow], objective: Objective, *, budget: int = 1000) -> dict[str, float]:
    policy, reference = (Policy.of(tiny_model(seed=seed), "float32") for seed in (0, 1))
    named = dict(policy.model.named_parameters())
    player = Player(policy.log_probs, objective, torch.optim.SGD(named.values(), lr=0.1), named, None)
    return held_out(player, TokenizedRows.of(rows), {"initial": reference.log_probs}, budget=budget)


def close(ours: dict[str, float], theirs: dict[str, float]) -> bool:
    """Alike but for float32 sums in another order."""
    return ours.keys() == theirs.keys() and all(abs(ours[name] - theirs[name]) <= 1e-5 for name in ours)


def test_weight_zero_is_leaving_the_row_out_of_the_evaluation() -> None:
    rows = rows_of(SHAPES)
    weighted = [replace(row, columns={"weight": float(i % 2)}) for i, row in enumerate(rows)]
    assert close(measured(weighted, DPO()), measured(rows[1::2], DPO()))
