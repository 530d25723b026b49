"""A frozen reference stays where the policy started, whatever of the policy moves."""

from pathlib import Path

import pytest
import torch

from tests.tiny import rows_of, tiny_model
from truenorth.data.packing import pack
from truenorth.data.tokens import TokenizedRows
from truenorth.models.load import with_lora
from truenorth.models.policy import Policy
from truenorth.models.references import Frozen
from truenorth.models.scored_references import Start, score_references

SHAPES = [(6, (5, 3)), (4, (7, 2))]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "bloom"])  # own head, tied, soft cap, padded
@pytest.mark.parametrize("lora", [False, True])
def test_moving_every_weight_of_the_policy_moves_no_frozen_reference(
    architecture: str, lora: bool, tmp_path: Path
) -> None:
    model = tiny_model(architecture)
    adapted = with_lora(model, rank=2, alpha=4, targets="all-linear", dropout=0.0) if lora else model
    policy = Policy.of(adapted, "float32")
    rows = rows_of(SHAPES)
    start = Start(policy, "unused", tmp_path, budget=100)
    (references,) = score_references({"initial": Frozen()}, start, [(TokenizedRows.of(rows), [0, 1])])
    batch = pack(rows)
    with torch.no_grad():
        before = policy.log_probs(batch).total
        for name, parameter in adapted.named_parameters():
            if not lora or ".lora_" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
        assert not torch.allclose(policy.log_probs(batch).total, before, atol=1e-2)
    assert torch.allclose(references["initial"](batch).total, before, rtol=0, atol=1e-5)
