"""Losses of pairs that are one formula with other settings: at the reference they are log 2, whatever those are."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.aps import APS
from truenorth.methods.dpo import DPO
from truenorth.methods.dpo_norm import DPONorm
from truenorth.methods.mmpo import MMPO
from truenorth.methods.odpo import ODPO
from truenorth.methods.robust_dpo import RobustDPO

numbers = st.floats(0.01, 10)  # of beta and of what scales it
log_probs, shares = st.floats(-60, -0.1), st.floats(0.01, 0.49)


@given(log_probs, log_probs, numbers, numbers, shares)
def test_losses_without_an_offset_are_log_two_at_the_reference(chosen, rejected, beta, scale, share):
    at_the_reference = scored(
        [[chosen, rejected]],
        [[chosen, rejected]],
        rewards=[[scale, 0]],
        length=[[3, 5]],
    )
    for objective in (
        DPO(beta=beta, label_smoothing=share),
        RobustDPO(beta=beta, epsilon=share),
        MMPO(beta=beta, gamma=scale),
        DPONorm(beta=beta),
        ODPO(beta=beta, alpha=0),
    ):
        assert objective(at_the_reference).item() == pytest.approx(math.log(2), rel=1e-9), objective


@given(numbers, numbers)
def test_a_score_gap_is_an_offset_at_the_reference(beta, gap):
    loss = ODPO(beta=beta, alpha=1)(scored([[-3, -4]], [[-3, -4]], rewards=[[gap, 0]])).item()
    assert loss == pytest.approx(math.log1p(gap), rel=1e-9)


@given(numbers, shares, shares)
def test_adaptive_scaling_costs_its_lowest_temperature_at_the_reference(beta, tau_min, rho):
    loss = APS(beta=beta, tau_min=tau_min, rho=rho)(scored([[-3, -4]], [[-3, -4]])).item()
    assert loss == pytest.approx(tau_min * rho, rel=1e-9)
