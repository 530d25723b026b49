"""Mallows-DPO by hand, and as DPO."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.mallows_dpo import MallowsDPO

log_ratios, dispersions = st.floats(-12, 12), st.floats(0.01, 0.99)


def pair(log_ratio, dispersion):
    return scored([[log_ratio, 0]], columns={"dispersion": [dispersion]})


def test_mallows_dpo_by_hand():
    # margin 0.5 * 3 = 1.5, times -2 log(1/e) / 4 = 0.5
    loss = MallowsDPO(beta=0.5, scale=0.5)(pair(3.0, math.exp(-1)))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.75)), rel=1e-12)


@given(log_ratios)
def test_mallows_dpo_at_the_dispersion_of_bradley_and_terry_is_dpo(log_ratio):
    candidates = pair(log_ratio, math.exp(-1 / 2))  # -2 log phi = 1
    assert MallowsDPO(scale=2.0)(candidates).item() == pytest.approx(DPO()(candidates).item(), rel=1e-10)


@given(log_ratios, dispersions)
def test_mallows_dpo_of_one_dispersion_is_dpo_with_another_beta(log_ratio, dispersion):
    candidates = pair(log_ratio, dispersion)
    dpo = DPO(beta=-0.3 * 2 * math.log(dispersion))
    assert MallowsDPO(beta=0.3, scale=2.0)(candidates).item() == pytest.approx(dpo(candidates).item(), rel=1e-10)


@given(log_ratios, dispersions)
def test_mallows_dpo_scaled_by_the_mean_is_dpo_where_all_dispersions_agree(log_ratio, dispersion):
    candidates = pair(log_ratio, dispersion)
    mallows = MallowsDPO(scale=1 / -math.log(dispersion))
    assert mallows(candidates).item() == pytest.approx(DPO()(candidates).item(), rel=1e-10)


def test_agreement_sharpens_the_loss():
    assert MallowsDPO()(pair(5.0, 0.1)).item() < MallowsDPO()(pair(5.0, 0.5)).item()
    assert MallowsDPO()(pair(-5.0, 0.1)).item() > MallowsDPO()(pair(-5.0, 0.5)).item()


@pytest.mark.parametrize("dispersion", [1.0, 1.7])
def test_no_dispersion_turns_a_label_round(dispersion):
    assert MallowsDPO()(pair(5.0, dispersion)).item() == pytest.approx(math.log(2), rel=1e-12)


def test_no_dispersion_at_all_is_finite():
    assert MallowsDPO()(pair(5.0, 0.0)).item() == MallowsDPO()(pair(5.0, 1e-6)).item() > 0
