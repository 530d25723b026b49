"""Softmax-DPO by hand, and as DPO."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.sdpo import SDPO

margins = st.floats(-12, 12)


def test_sdpo_by_hand():
    # beta * r = (0, log 2, log 3) relative to the reference: the chosen one gets 1 of 6
    loss = SDPO(beta=0.5)(scored([[-4, 2 * math.log(2) - 5, 2 * math.log(3) - 6]], [[-4, -5, -6]]))
    assert loss.item() == pytest.approx(math.log(6), rel=1e-12)


@given(margins)
def test_sdpo_with_one_rejected_is_dpo(margin):
    candidates = scored([[margin, 0]])
    assert SDPO(beta=0.3)(candidates).item() == pytest.approx(DPO(beta=0.3)(candidates).item(), rel=1e-10)


@given(margins, st.integers(1, 6))
def test_sdpo_with_equal_rejected_is_dpo_with_an_offset_of_the_log_of_their_number(margin, number):
    loss = SDPO(beta=0.3)(scored([[margin, *[0.0] * number]]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-(0.3 * margin - math.log(number)))), rel=1e-10)


@given(margins, margins)
def test_an_impossible_rejected_response_drops_out(chosen, rejected):
    with_it, without = scored([[chosen, rejected, -1e6]]), scored([[chosen, rejected]])
    assert SDPO()(with_it).item() == pytest.approx(SDPO()(without).item(), rel=1e-10)


@given(margins, margins)
def test_a_further_rejected_response_never_lowers_the_loss(chosen, rejected):
    fewer, more = scored([[chosen, 0.0]]), scored([[chosen, 0.0, rejected]])
    assert SDPO()(more).item() >= SDPO()(fewer).item()
