"""SPO by hand, as DPO, and as nothing but the cross-entropy of its head."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods import override, recipe
from truenorth.methods.dpo import DPO
from truenorth.methods.simpo import SimPO
from truenorth.methods.spo import SPO, degree_loss
from truenorth.methods.weighted_sum import WeightedSum

log_probs = st.floats(-60, -0.1)
CANDIDATES = scored([[-4, -6], [-3, -1]], [[-5, -5.5], [-3, -2]])


def logits(seed: int, levels: int = 3) -> torch.Tensor:
    """[2, 2, levels, levels]"""
    draw = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(2, 2, levels, levels, generator=draw, dtype=torch.float64)


def test_spo_by_hand():
    # Margin 0.75. Two levels: the head gives the chosen response's versions 3/4 and 1/2 of their own level, the
    # rejected one's 1/2 and 1/4.
    odds = [[[3.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [3.0, 1.0]]]
    candidates = replace(scored([[-4, -6]], [[-5, -5.5]]), degrees=torch.tensor([odds], dtype=torch.float64).log())
    loss = SPO(beta=0.5, gamma=0.2, levels=2)(candidates)
    chosen, rejected = (math.log(4 / 3) + math.log(2)) / 2, (math.log(2) + math.log(4)) / 2
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.75)) + 0.2 * (chosen + rejected), rel=1e-12)


@pytest.mark.parametrize("settings", [{"gamma": 0}, {"levels": 1}])
@given(log_probs, log_probs)
def test_spo_without_weight_or_without_levels_is_dpo_to_the_bit(settings, chosen, rejected):
    objective, candidates = SPO(beta=0.3, **settings), scored([[chosen, rejected]])
    assert torch.equal(objective(candidates), DPO(beta=0.3)(candidates))
    assert objective.degree_head is None  # no head, no degraded versions: nothing else of the run differs either


def test_a_head_of_one_level_loses_nothing():
    assert torch.equal(degree_loss(logits(0, levels=1)), torch.zeros(2, 2, dtype=torch.float64))


def test_a_head_that_knows_nothing_loses_log_levels_and_the_start_says_so():
    candidates = replace(CANDIDATES, references={"initial": CANDIDATES.policy}, degrees=torch.zeros(2, 2, 4, 4))
    objective = SPO(gamma=0.3, levels=4)
    expected = torch.full((2,), math.log(2) + 0.3 * 2 * math.log(4), dtype=torch.float64)
    torch.testing.assert_close(objective(candidates), expected)
    torch.testing.assert_close(objective.initial_loss(candidates), expected)


def test_ever_more_weight_leaves_the_cross_entropies():
    candidates = replace(CANDIDATES, degrees=logits(1))
    plain = torch.nn.functional.cross_entropy(logits(1).flatten(0, 2), torch.arange(3).repeat(4), reduction="none")
    expected = plain.view(2, 2, 3).mean(2).sum(1)
    torch.testing.assert_close(SPO(gamma=1e12)(candidates) / 1e12, expected, rtol=1e-9, atol=0)


def test_gradients_of_the_head_agree_with_finite_differences():
    def loss(degrees: torch.Tensor) -> torch.Tensor:
        return SPO(gamma=0.7)(replace(CANDIDATES, degrees=degrees))

    assert torch.autograd.gradcheck(loss, [logits(2).requires_grad_()])


def test_value_and_gradient_of_the_head_are_finite_at_its_extremes():
    degrees = (1e4 * logits(3).sign()).float().requires_grad_()
    SPO(gamma=1.0)(replace(CANDIDATES, degrees=degrees)).sum().backward()
    assert degrees.grad is not None
    assert torch.isfinite(degrees.grad).all()


@pytest.mark.parametrize(("levels", "shares"), [(2, [0.6]), (3, [0.3, 0.6]), (4, [0.2, 0.4, 0.6])])
def test_shares_grow_evenly_to_the_last(levels, shares):
    head = SPO(levels=levels, deleted=0.6).degree_head
    assert head is not None
    assert head.deleted == pytest.approx(shares)


def test_the_head_joins_another_loss_of_pairs_in_a_sum():
    whole = WeightedSum(parts=((0.5, SPO()), (1.0, SimPO())))
    assert whole.degree_head == SPO().degree_head
    assert "degrees" in whole.reads


def test_a_sum_has_one_way_to_degrade():
    with pytest.raises(SettingsError, match="degrade responses differently"):
        WeightedSum(parts=((1.0, SPO()), (1.0, SPO(levels=4))))


def test_settings_come_from_the_command_line():
    asked = override(override(recipe("spo"), "levels", "4"), "gamma", "0.5").objective
    assert asked == SPO(levels=4, gamma=0.5)
