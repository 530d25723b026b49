"""BCO by hand, and as DPO or a bound on it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.bco import BCO, middle
from truenorth.methods.dpo import DPO

log_ratios = st.floats(-30, 30)


def answers(ratios, labels, weights=None):
    """Single answers with these log-ratios, alone in their step."""
    columns = {"label": labels} | ({} if weights is None else {"weight": weights})
    return scored([[ratio] for ratio in ratios], columns=columns)


def test_bco_by_hand():
    # rewards 3, 1 (good, mean 2) and -2 (bad), so the middle is 0; beta 0.5
    losses = BCO(beta=0.5)(answers([3.0, 1.0, -2.0], [1, 1, 0]))
    expected = [math.log(1 + math.exp(-x)) for x in (1.5, 0.5, 1.0)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-12)


@given(log_ratios, log_ratios)
def test_bco_of_one_pair_alone_is_dpo_at_half_of_beta(chosen, rejected):
    losses = BCO(beta=0.4)(answers([chosen, rejected], [1, 0]))
    assert losses.mean().item() == pytest.approx(DPO(beta=0.2)(scored([[chosen, rejected]])).item(), rel=1e-9)


@given(log_ratios, log_ratios, log_ratios, log_ratios)
def test_bco_of_a_pair_bounds_dpo_from_above_whatever_else_is_in_the_step(chosen, rejected, other, another):
    losses = BCO(beta=0.4)(answers([chosen, rejected, other, another], [1, 0, 1, 0]))
    dpo = DPO(beta=0.4)(scored([[chosen, rejected]]))
    assert losses[:2].sum().item() >= dpo.item() - 1e-12


@given(log_ratios, log_ratios, log_ratios)
def test_a_shift_of_all_rewards_leaves_bco_unchanged(chosen, rejected, shift):
    before, after = (BCO()(answers([chosen + by, rejected + by], [1, 0])) for by in (0.0, shift))
    assert after.tolist() == pytest.approx(before.tolist(), rel=1e-9, abs=1e-12)


def test_the_middle_takes_both_labels_alike_however_many_there_are_of_each():
    assert middle(answers([3.0, 1.0, 2.0, -2.0], [1, 1, 1, 0]).step).item() == pytest.approx(0.0)


def test_the_middle_counts_each_answer_by_its_weight():
    assert middle(answers([4.0, 1.0, 0.0], [1, 1, 0], weights=[1, 2, 5]).step).item() == pytest.approx(1.0)


@pytest.mark.parametrize("label", [0, 1])
def test_the_middle_of_one_label_alone_is_its_mean(label):
    assert middle(answers([4.0, 1.0], [label, label]).step).item() == pytest.approx(2.5)
