"""SPPO from labels by hand, its optimum, and as IPO."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.ipo import IPO
from truenorth.methods.sppo_hard import SPPOHard

log_ratios = st.floats(-20, 20)


def test_sppo_by_hand():
    # r = (1, -0.5), goals 2 and -2
    loss = SPPOHard(beta=0.25)(scored([[-1, -3]], [[-2, -2.5]]))
    assert loss.item() == pytest.approx(1 + 1.5**2, rel=1e-12)


@given(log_ratios, log_ratios)
def test_sppo_is_half_of_ipo_at_half_of_beta_and_half_of_the_squared_drift(chosen, rejected):
    # (a - g)^2 + (b + g)^2 = (a - b - 2 g)^2 / 2 + (a + b)^2 / 2
    candidates = scored([[chosen, rejected]])
    expected = IPO(beta=0.05)(candidates).item() / 2 + (chosen + rejected) ** 2 / 2
    assert SPPOHard(beta=0.1)(candidates).item() == pytest.approx(expected, rel=1e-9)


@given(st.floats(0.001, 2))
def test_sppo_is_zero_at_its_goals(beta):
    goal = 1 / (2 * beta)
    assert SPPOHard(beta=beta)(scored([[goal, -goal]])).item() == pytest.approx(0, abs=1e-12)


def test_sppo_at_the_reference_pulls_as_dpo_does_up_to_scale():
    pulls = []
    for objective in (SPPOHard(beta=0.1), DPO(beta=0.1)):
        total = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        objective(scored(total)).sum().backward()
        assert total.grad is not None
        pulls.append(total.grad)
    torch.testing.assert_close(pulls[0] * 0.1**2 / 2, pulls[1])
