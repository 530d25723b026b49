"""Robust DPO by hand, as DPO, and that flipped labels cancel in the mean."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods.dpo import DPO
from truenorth.methods.robust_dpo import RobustDPO

log_ratios, shares = st.floats(-12, 12), st.floats(0, 0.45)


def test_robust_dpo_by_hand():
    # margin 0.75; (0.8 l(m) - 0.2 l(-m)) / 0.6
    loss = RobustDPO(beta=0.5, epsilon=0.2)(scored([[-1, -3]], [[-2, -2.5]]))
    expected = (0.8 * math.log(1 + math.exp(-0.75)) - 0.2 * math.log(1 + math.exp(0.75))) / 0.6
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@given(log_ratios)
def test_robust_dpo_of_clean_labels_is_dpo(log_ratio):
    candidates = scored([[log_ratio, 0]])
    assert RobustDPO(beta=0.3, epsilon=0)(candidates).item() == pytest.approx(
        DPO(beta=0.3)(candidates).item(), rel=1e-10
    )


@given(log_ratios, shares)
def test_mean_over_flips_of_the_label_is_dpo_of_the_true_one(log_ratio, share):
    true, flipped = scored([[log_ratio, 0]]), scored([[0, log_ratio]])
    robust = RobustDPO(beta=0.3, epsilon=share)
    mean = (1 - share) * robust(true).item() + share * robust(flipped).item()
    assert mean == pytest.approx(DPO(beta=0.3)(true).item(), rel=1e-9, abs=1e-9)


@given(log_ratios, shares)
def test_smoothed_dpo_has_a_bias_that_robust_dpo_has_not(log_ratio, share):
    # smoothing twice, by the data and by the loss, leaves share * (1 - share) * 2 of the labels turned round
    true, flipped = scored([[log_ratio, 0]]), scored([[0, log_ratio]])
    smoothed = DPO(beta=0.3, label_smoothing=share)
    mean = (1 - share) * smoothed(true).item() + share * smoothed(flipped).item()
    twice = 2 * share * (1 - share)
    assert mean == pytest.approx(DPO(beta=0.3, label_smoothing=twice)(true).item(), rel=1e-9, abs=1e-9)


def test_robust_dpo_refuses_labels_that_say_nothing():
    with pytest.raises(SettingsError, match=r"at 0\.5 the labels say nothing"):
        RobustDPO(epsilon=0.5)
