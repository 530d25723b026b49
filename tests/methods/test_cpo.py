"""CPO by hand, and as DPO and fine-tuning."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.cpo import CPO
from truenorth.methods.dpo import DPO
from truenorth.methods.sft import SFT

log_probs = st.floats(-60, -0.1)


def test_cpo_by_hand():
    # 0.5 * (-3 + 8) = 2.5, and 3 nats over 2 tokens at a weight of 0.1
    loss = CPO(beta=0.5, nll_weight=0.1)(scored([[-3.0, -8.0]], length=[[2, 4]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2.5)) + 0.1 * 1.5, rel=1e-12)


@given(log_probs, log_probs)
def test_cpo_that_does_not_learn_the_chosen_is_dpo_against_a_uniform_reference(chosen, rejected):
    candidates = scored([[chosen, rejected]])  # reference log-probs are all 0
    assert CPO(beta=0.3, nll_weight=0.0)(candidates).item() == pytest.approx(
        DPO(beta=0.3)(candidates).item(), rel=1e-9
    )


@given(log_probs, log_probs, st.integers(1, 50))
def test_cpo_is_dpo_against_a_uniform_reference_and_fine_tuning_on_the_chosen(chosen, rejected, length):
    pair = scored([[chosen, rejected]], length=[[length, 3]])
    parts = DPO(beta=0.3)(pair) + 0.7 * SFT()(scored([[chosen]], length=[[length]]))
    assert CPO(beta=0.3, nll_weight=0.7)(pair).item() == pytest.approx(parts.item(), rel=1e-9)
