"""DiscoPOP by hand, as DPO for lost pairs, and where its loss rises."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods.discopop import DiscoPOP
from truenorth.methods.dpo import DPO


def pull(margin):
    """The slope of the loss in the margin."""
    total = torch.tensor([[margin, 0.0]], dtype=torch.float64, requires_grad=True)
    DiscoPOP(beta=1.0)(scored(total)).sum().backward()
    assert total.grad is not None
    return total.grad[0, 0].item()


def test_discopop_by_hand():
    # m = log 3 and tau = 1/2, so w = sigmoid(2 log 3) = 9/10: 1/10 log(4/3) + 9/10 / 3
    loss = DiscoPOP(beta=0.5, tau=0.5)(scored([[2 * math.log(3), 0]]))
    assert loss.item() == pytest.approx(0.1 * math.log(4 / 3) + 0.3, rel=1e-12)


@given(st.floats(-1000, -30))
def test_discopop_of_lost_pairs_is_dpo(log_ratio):
    candidates = scored([[log_ratio, 0]])  # margin below -1.5, w below 1e-13
    assert DiscoPOP()(candidates).item() == pytest.approx(DPO(beta=0.05)(candidates).item(), rel=1e-9)


@given(st.floats(40, 400))
def test_discopop_of_won_pairs_is_exponential(log_ratio):
    assert DiscoPOP()(scored([[log_ratio, 0]])).item() == pytest.approx(math.exp(-0.05 * log_ratio), rel=1e-9)


def test_discopop_rises_around_the_start_and_nowhere_else():
    assert [pull(margin) > 0 for margin in (-3, -0.125, -0.115, 0, 0.07, 0.075, 3)] == [0, 0, 1, 1, 1, 0, 0]


def test_discopop_refuses_a_tau_at_which_lost_pairs_do_not_pull():
    with pytest.raises(
        SettingsError, match=r"DiscoPOP's tau must lie in \(0, 1\), got 1: else lost pairs do not pull"
    ):
        DiscoPOP(tau=1)
