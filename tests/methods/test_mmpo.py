"""MMPO by hand, as DPO, smoothed DPO and DPO from rewards, and its optimum."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods.dpo import DPO
from truenorth.methods.exo import DPOReward
from truenorth.methods.mmpo import MMPO

log_ratios, gaps = st.floats(-12, 12), st.floats(-5, 5)


def test_mmpo_by_hand():
    # margin 0.5 * (1 + 0.5) = 0.75; gamma * gap = log 3, so the label is sure at 3 of 4
    candidates = scored([[-1, -3]], [[-2, -2.5]], rewards=[[2 * math.log(3), 0]])
    expected = 0.75 * math.log(1 + math.exp(-0.75)) + 0.25 * math.log(1 + math.exp(0.75))
    assert MMPO(beta=0.5, gamma=0.5)(candidates).item() == pytest.approx(expected, rel=1e-12)


@given(log_ratios)
def test_mmpo_that_trusts_scores_wholly_is_dpo(log_ratio):
    candidates = scored([[log_ratio, 0]], rewards=[[1, 0]])
    assert MMPO(beta=0.3, gamma=1e4)(candidates).item() == pytest.approx(DPO(beta=0.3)(candidates).item(), rel=1e-10)


@given(log_ratios, gaps, st.floats(0.1, 3))
def test_mmpo_is_dpo_from_two_rewards(log_ratio, gap, gamma):
    candidates = scored([[log_ratio, 0]], rewards=[[gap, 0]])
    from_rewards = DPOReward(beta=0.3, reward_temperature=1 / gamma)
    mmpo = MMPO(beta=0.3, gamma=gamma)
    assert mmpo(candidates).item() == pytest.approx(from_rewards(candidates).item(), rel=1e-9)


@given(log_ratios, st.floats(0.1, 4))
def test_mmpo_of_equal_differences_is_dpo_with_smoothed_labels(log_ratio, gap):
    candidates = scored([[log_ratio, 0]], rewards=[[gap, 0]])
    smoothed = DPO(beta=0.3, label_smoothing=1 / (1 + math.exp(0.7 * gap)))
    assert MMPO(beta=0.3, gamma=0.7)(candidates).item() == pytest.approx(smoothed(candidates).item(), rel=1e-9)


@given(gaps)
def test_mmpo_rests_where_the_margin_matches_the_scores(gap):
    total = torch.tensor([[0.7 * gap / 0.2, 0]], dtype=torch.float64, requires_grad=True)
    MMPO(beta=0.2, gamma=0.7)(scored(total, rewards=[[gap, 0]])).sum().backward()
    torch.testing.assert_close(total.grad, torch.zeros_like(total), rtol=0, atol=1e-12)


def test_mmpo_refuses_to_ignore_the_scores():
    with pytest.raises(
        SettingsError, match=r"MMPO's gamma must lie in \(0, inf\), got 0: at 0 the scores say nothing"
    ):
        MMPO(gamma=0)
