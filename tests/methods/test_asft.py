"""ASFT by hand, as fine-tuning, and above ORPO."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.asft import ASFT
from truenorth.methods.orpo import ORPO
from truenorth.methods.sft import SFT

log_probs = st.floats(-60, -0.1)
weights = st.floats(0, 5)


def test_asft_by_hand():
    # per token p = 1/2 and 1/4: -log 1/2 - 0.3 * (log 1/2 + log 3/4)
    candidates = scored([[2 * math.log(0.5), 3 * math.log(0.25)]], length=[[2, 3]])
    loss = ASFT(align_weight=0.3)(candidates)
    assert loss.item() == pytest.approx(1.3 * math.log(2) + 0.3 * math.log(4 / 3), rel=1e-12)


@given(log_probs, log_probs, weights)
def test_asft_raises_the_chosen_likelihood_and_lowers_the_rejected_without_comparing_them(chosen, rejected, weight):
    loss = ASFT(align_weight=weight)(scored([[chosen, rejected]]))
    expected = -(1 + weight) * chosen - weight * math.log1p(-math.exp(rejected))
    assert loss.item() == pytest.approx(expected, rel=1e-9)


@given(log_probs, log_probs, st.integers(1, 50))
def test_asft_without_its_classifications_is_fine_tuning_on_the_chosen(chosen, rejected, length):
    loss = ASFT(align_weight=0.0)(scored([[chosen, rejected]], length=[[length, 3]]))
    assert loss.item() == pytest.approx(SFT()(scored([[chosen]], length=[[length]])).item(), rel=1e-12)


@given(log_probs, log_probs, weights)
def test_orpo_is_asft_and_the_log_probability_that_one_of_both_responses_is_right(chosen, rejected, weight):
    pair, p, q = scored([[chosen, rejected]]), math.exp(chosen), math.exp(rejected)
    one_is_right = math.log(p * (1 - q) + q * (1 - p))
    orpo = ASFT(align_weight=weight)(pair).item() + weight * one_is_right
    assert ORPO(odds_weight=weight)(pair).item() == pytest.approx(orpo, rel=1e-7, abs=1e-7)


@given(log_probs, log_probs, weights)
def test_asft_is_never_below_orpo(chosen, rejected, weight):
    pair = scored([[chosen, rejected]])
    assert ASFT(align_weight=weight)(pair).item() >= ORPO(odds_weight=weight)(pair).item() - 1e-9
