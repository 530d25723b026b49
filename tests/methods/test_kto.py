"""KTO by hand, against its baseline, and as DPO where the baseline is the rejected answer's reward."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.kto import KTO, baseline

log_ratios = st.floats(-30, 30)


def answers(ratios, labels, weights=None):
    """Single answers with these log-ratios, alone in their step."""
    columns = {"label": labels} | ({} if weights is None else {"weight": weights})
    return scored([[ratio] for ratio in ratios], columns=columns)


def test_kto_by_hand():
    # baseline (4 + 1) / 2 = 2.5; rewards against it 0.5 * 1.5 = 0.75 and -0.75
    losses = KTO(beta=0.5, desirable_weight=2.0)(answers([4.0, 1.0], [1, 0]))
    sigmoid = 1 / (1 + math.exp(-0.75))
    assert losses.tolist() == pytest.approx([2 * (1 - sigmoid), 1 - sigmoid], rel=1e-12)


@given(log_ratios, st.floats(0, 30))
def test_a_good_answer_against_the_rejected_ones_reward_loses_what_dpo_gives_no_probability(chosen, rejected):
    # A step whose mean is the rejected answer's log-ratio: the good answer is beside one as far on the other side.
    step = answers([chosen, 2 * rejected - chosen], [1, 0])
    dpo = DPO(beta=0.3)(scored([[chosen, rejected]])).item()
    assert KTO(beta=0.3)(step)[0].item() == pytest.approx(1 - math.exp(-dpo), rel=1e-9, abs=1e-12)


@given(log_ratios, log_ratios)
def test_the_label_turns_the_loss_over(ratio, other):
    good, bad = (KTO()(answers([ratio, other], [label, 0]))[0].item() for label in (1, 0))
    assert good + bad == pytest.approx(1, rel=1e-9)


@given(st.lists(st.floats(-30, 0), min_size=1, max_size=4))
def test_baseline_is_zero_where_the_policy_is_pushed_off_its_answers(ratios):
    assert baseline(answers(ratios, [1] * len(ratios)).step).item() == 0


def test_baseline_counts_each_answer_by_its_weight():
    assert baseline(answers([4.0, 1.0], [1, 0], weights=[1, 2]).step).item() == pytest.approx(2.0)


def test_the_pull_is_strongest_at_the_baseline_and_fades_on_both_sides():
    # unlike DPO's, which is strongest where the answer is far on the wrong side
    def pull(ratio):
        candidates = answers([ratio, -ratio], [1, 0])
        candidates.policy.total.requires_grad_()
        KTO(beta=1.0)(candidates)[0].backward()
        return -candidates.policy.total.grad[0, 0].item()

    assert pull(0.0) == pytest.approx(0.25)
    assert pull(-8.0) < 0.01
    assert pull(8.0) < 0.01
