"""IPO by hand, its optimum, and as DPO's slope."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.ipo import IPO
from truenorth.methods.sppo_hard import SPPOHard


def pull(objective, policy):
    """The gradient of the loss, by response."""
    total = torch.tensor([policy], dtype=torch.float64, requires_grad=True)
    objective(scored(total)).sum().backward()
    return total.grad


def test_ipo_by_hand():
    # r = (1, -0.5); 1.5 - 1 / (2 * 0.25) = -0.5
    assert IPO(beta=0.25)(scored([[-1, -3]], [[-2, -2.5]])).item() == pytest.approx(0.25, rel=1e-12)


@given(st.floats(0.01, 2))
def test_ipo_rests_at_half_of_one_over_beta_and_comes_back_from_beyond(beta):
    goal = 1 / (2 * beta)
    torch.testing.assert_close(pull(IPO(beta=beta), [goal, 0]), torch.zeros(1, 2, dtype=torch.float64))
    assert pull(IPO(beta=beta), [goal + 1, 0])[0, 0] > 0


@given(st.floats(0.01, 2))
def test_ipo_at_the_reference_pulls_as_dpo_does_up_to_scale(beta):
    # d/dm (m - 1 / (2 beta))^2 = -1 / beta and d/dm -log sigmoid(beta m) = -beta / 2, both at m = 0
    ipo, dpo = pull(IPO(beta=beta), [0, 0]), pull(DPO(beta=beta), [0, 0])
    torch.testing.assert_close(ipo * beta**2 / 2, dpo)


@given(st.floats(-20, 20))
def test_ipo_is_twice_sppo_on_log_ratios_that_mirror_each_other(log_ratio):
    # SPPO's goals are half as far apart for each response, together as far as IPO's at half of its beta
    mirrored = scored([[log_ratio, -log_ratio]])
    ipo, sppo = IPO(beta=0.1)(mirrored).item(), SPPOHard(beta=0.2)(mirrored).item()
    assert ipo == pytest.approx(2 * sppo, rel=1e-9, abs=1e-9)
