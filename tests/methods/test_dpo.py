"""DPO by hand and in its limits."""

import math

import pytest
import torch

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods.dpo import DPO


def test_dpo_by_hand():
    # r = (-1 + 2, -3 + 2.5) = (1, -0.5); margin = 0.5 * 1.5 = 0.75
    loss = DPO(beta=0.5)(scored([[-1.0, -3.0]], [[-2.0, -2.5]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.75)), rel=1e-12)


def test_smoothed_dpo_by_hand():
    # margin 0.75 as above; a fifth of the labels count the other way
    loss = DPO(beta=0.5, label_smoothing=0.2)(scored([[-1.0, -3.0]], [[-2.0, -2.5]]))
    expected = 0.8 * math.log(1 + math.exp(-0.75)) + 0.2 * math.log(1 + math.exp(0.75))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_dpo_of_the_reference_itself_is_log_two():
    assert DPO()(scored([[-4.0, -7.0]], [[-4.0, -7.0]])).item() == pytest.approx(math.log(2), rel=1e-12)


def test_gradient_at_the_reference_is_half_of_beta_on_each_side():
    total = torch.tensor([[-4.0, -7.0]], dtype=torch.float64, requires_grad=True)
    DPO(beta=0.3)(scored(total, total.detach())).sum().backward()
    torch.testing.assert_close(total.grad, torch.tensor([[-0.15, 0.15]], dtype=torch.float64))


def test_smoothed_dpo_has_its_minimum_where_the_policy_believes_the_share_of_right_labels():
    margin = math.log(0.9 / 0.1)  # logit of 0.9
    total = torch.tensor([[margin, 0.0]], dtype=torch.float64, requires_grad=True)
    DPO(beta=1.0, label_smoothing=0.1)(scored(total)).sum().backward()
    torch.testing.assert_close(total.grad, torch.zeros(1, 2, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, -0.1])
def test_dpo_refuses_a_beta_that_is_not_positive(beta):
    with pytest.raises(SettingsError, match=r"DPO's beta must lie in \(0, inf\)"):
        DPO(beta=beta)


def test_dpo_refuses_labels_that_say_nothing():
    with pytest.raises(SettingsError, match=r"at 0\.5 the labels say nothing"):
        DPO(label_smoothing=0.5)
