"""SimPO by hand, and as DPO without a reference."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.simpo import SimPO

log_probs = st.floats(-60, -0.1)


def test_simpo_by_hand():
    # per token -1 and -2; 2 * 1 - 2 * 0.5 = 1
    loss = SimPO(beta=2.0, gamma_over_beta=0.5)(scored([[-3.0, -8.0]], length=[[3, 4]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-12)


@given(log_probs, log_probs, st.integers(1, 50))
def test_simpo_without_margin_at_equal_lengths_is_dpo_without_reference(chosen, rejected, length):
    candidates = scored([[chosen, rejected]], length=[[length, length]])  # reference log-probs are 0
    simpo = SimPO(beta=2.0, gamma_over_beta=0.0)(candidates).item()
    assert simpo == pytest.approx(DPO(beta=2.0 / length)(candidates).item(), rel=1e-9)


@given(log_probs, log_probs)
def test_saying_every_token_twice_leaves_simpo_unchanged(chosen, rejected):
    once = scored([[chosen, rejected]], length=[[3, 5]])
    twice = scored([[2 * chosen, 2 * rejected]], length=[[6, 10]])
    assert SimPO()(once).item() == pytest.approx(SimPO()(twice).item(), rel=1e-9)


def test_simpo_is_log_two_where_the_chosen_wins_by_the_margin():
    loss = SimPO(beta=10.0, gamma_over_beta=0.3)(scored([[-2.0, -2.3]]))
    assert loss.item() == pytest.approx(math.log(2), rel=1e-12)


def test_simpo_reads_no_reference():
    assert SimPO().references == ()
