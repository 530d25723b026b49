"""AOT by hand, against sorting, and as DPO of one pair."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

from tests.scored import scored
from truenorth.methods.aot import AOT, AOTUnpaired, coupled
from truenorth.methods.dpo import DPO

log_ratios = st.floats(-30, 30)
several = st.lists(st.tuples(log_ratios, log_ratios), min_size=1, max_size=6)


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def pairs(margins, reference_margins):
    """Pairs with these margins of the policy and the reference, alone in their step."""
    return scored([[m, 0.0] for m in margins], [[m, 0.0] for m in reference_margins])


def answers(ratios, labels):
    """Single answers with these log-ratios, alone in their step."""
    return scored([[ratio] for ratio in ratios], columns={"label": labels})


def test_aot_by_hand():
    # u = 5, 1 and v = 2, 4: by rank 5 stands against 4 and 1 against 2, not as in the rows
    losses = AOT(beta=0.5)(pairs([5.0, 1.0], [2.0, 4.0]))
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(0.5))], rel=1e-12)


def test_unpaired_aot_by_hand():
    # good 5, 1 against bad 2, 4 as above; each row holds half of its coupling, and is half of the step
    losses = AOTUnpaired(beta=0.5)(answers([5.0, 2.0, 1.0, 4.0], [1, 0, 1, 0]))
    high, low = math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(0.5))
    assert losses.tolist() == pytest.approx([high, low, low, high], rel=1e-12)


@given(log_ratios, log_ratios)
def test_aot_of_one_pair_alone_is_dpo(policy, reference):
    pair = pairs([policy], [reference])
    assert AOT(beta=0.3)(pair).item() == pytest.approx(DPO(beta=0.3)(pair).item(), rel=1e-9)


@given(log_ratios, log_ratios)
def test_unpaired_aot_of_one_pair_alone_is_dpo(chosen, rejected):
    losses = AOTUnpaired(beta=0.3)(answers([chosen, rejected], [1, 0]))
    assert losses.mean().item() == pytest.approx(DPO(beta=0.3)(scored([[chosen, rejected]])).item(), rel=1e-9)


@given(several)
def test_aot_is_dpos_loss_of_sorted_margins(rows):
    margins, reference = zip(*rows, strict=True)
    u, v = numbers(*sorted(margins)), numbers(*sorted(reference))
    expected = -logsigmoid(0.3 * (u - v)).mean()
    assert AOT(beta=0.3)(pairs(margins, reference)).mean().item() == pytest.approx(expected.item(), rel=1e-7)


@given(several)
def test_aot_is_never_above_dpo(rows):
    # The coupling by rank costs least, for any convex loss of differences.
    candidates = pairs(*zip(*rows, strict=True))
    assert AOT(beta=0.3)(candidates).mean().item() <= DPO(beta=0.3)(candidates).mean().item() + 1e-9


@given(several)
def test_unpaired_aot_is_dpos_loss_of_sorted_rewards(rows):
    good, bad = zip(*rows, strict=True)
    expected = -logsigmoid(0.3 * (numbers(*sorted(good)) - numbers(*sorted(bad)))).mean()
    losses = AOTUnpaired(beta=0.3)(answers([*good, *bad], [1] * len(good) + [0] * len(bad)))
    assert losses.mean().item() == pytest.approx(expected.item(), rel=1e-7)


@given(several, st.integers(2, 3))
def test_saying_every_bad_answer_several_times_leaves_unpaired_aot_unchanged(rows, times):
    good, bad = map(list, zip(*rows, strict=True))
    once = AOTUnpaired()(answers(good + bad, [1] * len(good) + [0] * len(bad)))
    more = AOTUnpaired()(answers(good + bad * times, [1] * len(good) + [0] * len(bad) * times))
    assert more.mean().item() == pytest.approx(once.mean().item(), rel=1e-7)


def test_gradient_of_unpaired_aot_is_half_of_the_sorted_losss():
    ratios = numbers(5.0, 2.0, 1.0, 4.0).requires_grad_()
    good, bad = ratios[[2, 0]], ratios[[1, 3]]  # by rank
    (expected,) = torch.autograd.grad(-logsigmoid(0.5 * (good - bad)).mean(), ratios)
    candidates = answers(ratios.tolist(), [1, 0, 1, 0])
    candidates.policy.total.requires_grad_()
    AOTUnpaired(beta=0.5)(candidates).mean().backward()
    torch.testing.assert_close(candidates.policy.total.grad[:, 0], expected / 2)


def test_unpaired_aot_of_one_label_alone_says_nothing():
    candidates = answers([5.0, 2.0], [1, 1])
    candidates.policy.total.requires_grad_()
    losses = AOTUnpaired()(candidates)
    losses.sum().backward()
    assert losses.tolist() == [0.0, 0.0]
    assert candidates.policy.total.grad.tolist() == [[0.0], [0.0]]


def test_coupling_splits_what_weighs_more_over_several_ranks():
    # half of the source is 1, half is 2; the target is 10, 20, 30 with a quarter, a quarter and half
    source, target = (numbers(2, 1), numbers(1, 1)), (numbers(30, 10, 20), numbers(2, 1, 1))
    points, shares = coupled(numbers(1, 2), source, target)
    assert points.tolist() == [10, 20, 30]
    torch.testing.assert_close(shares, numbers([0.5, 0.5, 0.0], [0.0, 0.0, 1.0]))


def test_equal_values_share_their_ranks():
    ones = torch.ones(2, dtype=torch.float64)
    _, shares = coupled(numbers(1, 1), (numbers(1, 1), ones), (numbers(10, 20), ones))
    torch.testing.assert_close(shares, torch.full((2, 2), 0.5, dtype=torch.float64))


def test_a_value_that_rounding_has_moved_keeps_its_rank():
    ones = torch.ones(2, dtype=torch.float64)
    _, shares = coupled(numbers(1 + 1e-9, 2 - 1e-9), (numbers(1, 2), ones), (numbers(10, 20), ones))
    torch.testing.assert_close(shares, torch.eye(2, dtype=torch.float64))
