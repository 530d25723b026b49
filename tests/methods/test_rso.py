"""The hinge loss of RSO by hand, and against DPO."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.rso import RSO


def test_rso_by_hand():
    # 1 - 0.5 * (1 + 0.5)
    assert RSO(beta=0.5)(scored([[-1, -3]], [[-2, -2.5]])).item() == pytest.approx(0.25, rel=1e-12)


@given(st.floats(-50, 50))
def test_the_hinge_is_never_further_from_dpos_loss_than_one(log_ratio):
    # with m for the margin, softplus(-m) lies between max(0, -m) and that plus log 2
    candidates = scored([[log_ratio, 0]])
    hinge, dpo = RSO(beta=0.3)(candidates).item(), DPO(beta=0.3)(candidates).item()
    assert -math.log(2) - 1e-12 <= hinge - dpo <= 1 + 1e-12


@given(st.floats(20, 1000))
def test_far_lost_pairs_cost_one_more_than_in_dpo(log_ratio):
    candidates = scored([[-log_ratio, 0]])
    assert RSO(beta=1)(candidates).item() == pytest.approx(DPO(beta=1)(candidates).item() + 1, rel=1e-8)


def test_a_pair_that_wins_by_one_is_left_alone():
    assert RSO(beta=0.5)(scored([[2, 0]])).item() == 0
