"""APO by hand, which responses it moves, and as DPO's slope."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.apo import APODown, APOZero
from truenorth.methods.dpo import DPO

log_ratios = st.floats(-30, 30)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def pull(objective, policy):
    """The gradient of the loss, by response."""
    total = torch.tensor([policy], dtype=torch.float64, requires_grad=True)
    objective(scored(total)).sum().backward()
    assert total.grad is not None
    return total.grad[0]


def test_apo_zero_by_hand():
    # beta * r = (0.5, -0.25)
    loss = APOZero(beta=0.5)(scored([[-1, -3]], [[-2, -2.5]]))
    assert loss.item() == pytest.approx(1 - sigmoid(0.5) + sigmoid(-0.25), rel=1e-12)


def test_apo_down_by_hand():
    loss = APODown(beta=0.5)(scored([[-1, -3]], [[-2, -2.5]]))
    assert loss.item() == pytest.approx(sigmoid(0.5) + 1 - sigmoid(0.75), rel=1e-12)


@given(log_ratios, log_ratios)
def test_apo_zero_raises_the_chosen_and_lowers_the_rejected_wherever_they_are(chosen, rejected):
    chosen_pull, rejected_pull = pull(APOZero(), [chosen, rejected])
    assert chosen_pull < 0 < rejected_pull


@given(log_ratios)
def test_apo_down_lowers_both_where_they_are_apart(log_ratio):
    # from a margin on that is larger than the chosen response's own distance, the anchor wins
    pulls = pull(APODown(), [log_ratio, log_ratio - abs(log_ratio) - 1])
    assert (pulls > 0).all()


def test_apo_at_the_reference_pulls_the_rejected_half_as_dpo_does():
    zero, down, dpo = (pull(objective, [0.0, 0.0]) for objective in (APOZero(), APODown(), DPO()))
    torch.testing.assert_close(zero, dpo / 2)
    torch.testing.assert_close(down, torch.tensor([0, dpo[1] / 2], dtype=torch.float64))


@given(log_ratios)
def test_apo_zero_of_log_ratios_that_mirror_each_other_is_twice_one_less_the_probability_of_dpo(log_ratio):
    mirrored = APOZero(beta=0.3)(scored([[log_ratio, -log_ratio]])).item()
    assert mirrored == pytest.approx(2 * (1 - math.exp(-DPO(beta=0.3)(scored([[log_ratio, 0]])).item())), abs=1e-12)


@given(log_ratios)
def test_apo_down_of_a_chosen_response_that_stays_is_one_less_the_probability_of_dpo(log_ratio):
    candidates = scored([[0, log_ratio]])
    probability = math.exp(-DPO(beta=0.3)(candidates).item())
    assert APODown(beta=0.3)(candidates).item() == pytest.approx(0.5 + 1 - probability, rel=1e-10)
