"""Length-normalised DPO by hand, and as DPO and SimPO."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.dpo_norm import DPONorm
from truenorth.methods.simpo import SimPO

log_probs = st.floats(-60, -0.1)


def test_dpo_norm_by_hand():
    # r / |y| = (1 / 2, -0.5 / 4); 2 * (0.5 + 0.125) = 1.25
    loss = DPONorm(beta=2)(scored([[-1, -3]], [[-2, -2.5]], length=[[2, 4]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.25)), rel=1e-12)


@given(log_probs, log_probs, st.integers(1, 50))
def test_dpo_norm_of_equal_lengths_is_dpo_with_beta_per_token(chosen, rejected, length):
    candidates = scored([[chosen, rejected]], [[-9, -4]], length=[[length, length]])
    assert DPONorm(beta=3)(candidates).item() == pytest.approx(DPO(beta=3 / length)(candidates).item(), rel=1e-9)


@given(log_probs, log_probs, st.floats(0.1, 4))
def test_dpo_norm_against_a_reference_that_likes_all_tokens_alike_is_simpo(chosen, rejected, nats):
    candidates = scored([[chosen, rejected]], [[-3 * nats, -5 * nats]], length=[[3, 5]])
    simpo = SimPO(beta=3, gamma_over_beta=0)
    assert DPONorm(beta=3)(candidates).item() == pytest.approx(simpo(candidates).item(), rel=1e-9)


@given(log_probs, log_probs)
def test_saying_every_token_twice_leaves_dpo_norm_unchanged(chosen, rejected):
    once = scored([[chosen, rejected]], [[-9, -4]], length=[[3, 5]])
    twice = scored([[2 * chosen, 2 * rejected]], [[-18, -8]], length=[[6, 10]])
    assert DPONorm()(once).item() == pytest.approx(DPONorm()(twice).item(), rel=1e-9)
