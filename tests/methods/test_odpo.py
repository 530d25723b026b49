"""ODPO by hand, and as DPO and SimPO."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.odpo import ODPO
from truenorth.methods.simpo import SimPO

log_ratios = st.floats(-12, 12)


def test_odpo_by_hand():
    # margin 0.5 * (1 + 0.5) = 0.75, offset 2 * log(5 - 2)
    loss = ODPO(beta=0.5, alpha=2.0)(scored([[-1, -3]], [[-2, -2.5]], rewards=[[5, 2]]))
    assert loss.item() == pytest.approx(math.log(1 + 9 * math.exp(-0.75)), rel=1e-12)


@given(log_ratios, st.floats(0, 9))
def test_odpo_without_an_offset_is_dpo(log_ratio, gap):
    candidates = scored([[log_ratio, 0]], rewards=[[gap, 0]])
    assert ODPO(beta=0.3, alpha=0.0)(candidates).item() == pytest.approx(DPO(beta=0.3)(candidates).item(), rel=1e-10)


@given(log_ratios, st.floats(0, 3))
def test_odpo_of_scores_one_apart_is_dpo(log_ratio, alpha):
    candidates = scored([[log_ratio, 0]], rewards=[[4, 3]])
    assert ODPO(beta=0.3, alpha=alpha)(candidates).item() == pytest.approx(DPO(beta=0.3)(candidates).item(), rel=1e-10)


@given(st.floats(-9, -0.1), st.floats(-9, -0.1), st.floats(0, 3))
def test_odpo_of_log_probs_per_token_with_a_constant_offset_is_simpo(chosen, rejected, gamma):
    per_token = scored([[chosen, rejected]], rewards=[[math.exp(gamma), 0]])  # a reference that likes all tokens alike
    whole = scored([[3 * chosen, 5 * rejected]], length=[[3, 5]])
    simpo = SimPO(beta=2.0, gamma_over_beta=gamma / 2)
    assert ODPO(beta=2.0, alpha=1.0)(per_token).item() == pytest.approx(simpo(whole).item(), rel=1e-9)


def test_a_larger_difference_of_scores_asks_for_more():
    near, far = (scored([[2, 0]], rewards=[[gap, 0]]) for gap in (2, 3))
    assert ODPO()(far).item() > ODPO()(near).item()


def test_a_tie_has_no_loss():
    assert ODPO()(scored([[-3, 0]], rewards=[[4, 4]])).item() == pytest.approx(0, abs=1e-100)
