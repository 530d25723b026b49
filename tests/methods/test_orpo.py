"""ORPO by hand, as fine-tuning, and its odds where probabilities reach their ends."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.orpo import ORPO, log_odds
from truenorth.methods.sft import SFT

log_probs = st.floats(-60, -0.1)


def test_orpo_by_hand():
    # per token p = 1/2 and 1/4: odds 1 and 1/3, their ratio 3, so log sigmoid(log 3) = log(3/4)
    candidates = scored([[2 * math.log(0.5), 3 * math.log(0.25)]], length=[[2, 3]])
    loss = ORPO(odds_weight=0.1)(candidates)
    assert loss.item() == pytest.approx(math.log(2) + 0.1 * math.log(4 / 3), rel=1e-12)


@given(log_probs, log_probs, st.integers(1, 50))
def test_orpo_without_its_odds_is_fine_tuning_on_the_chosen(chosen, rejected, length):
    loss = ORPO(odds_weight=0.0)(scored([[chosen, rejected]], length=[[length, 3]]))
    assert loss.item() == pytest.approx(SFT()(scored([[chosen]], length=[[length]])).item(), rel=1e-12)


@given(log_probs)
def test_two_equally_likely_responses_add_log_two_of_the_weight(log_prob):
    loss = ORPO(odds_weight=0.3)(scored([[log_prob, log_prob]]))
    assert loss.item() == pytest.approx(-log_prob + 0.3 * math.log(2), rel=1e-12)


@given(log_probs, log_probs)
def test_saying_every_token_twice_leaves_orpo_unchanged(chosen, rejected):
    once = scored([[chosen, rejected]], length=[[3, 5]])
    twice = scored([[2 * chosen, 2 * rejected]], length=[[6, 10]])
    assert ORPO()(once).item() == pytest.approx(ORPO()(twice).item(), rel=1e-9)


@given(st.floats(-12, 12))
def test_log_odds_is_the_inverse_of_log_sigmoid(logit):
    log_p = torch.nn.functional.logsigmoid(torch.tensor(logit, dtype=torch.float64))
    assert log_odds(log_p).item() == pytest.approx(logit, rel=1e-6, abs=1e-6)


def test_log_odds_of_a_certain_response_are_finite_with_no_gradient():
    log_p = torch.zeros(1, requires_grad=True)
    found = log_odds(log_p)
    found.sum().backward()
    assert found.item() == pytest.approx(math.log(1e6), rel=1e-4)
    assert log_p.grad.item() == 0
