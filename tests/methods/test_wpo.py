"""WPO by hand, as weighted DPO, and its gradient with the weight held."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.wpo import WPO, pair_weight

log_probs, collisions = st.floats(-60, -0.1), st.floats(0, 30)


def test_wpo_by_hand():
    # 2 and 3 tokens of probability 1/2 and 1/4; sums of squares 1/2 and 1/3, so aligned 1 and 3/4; margin log 2
    policy, reference = [[-2 * math.log(2), -3 * math.log(4)]], [[-3 * math.log(2), -3 * math.log(4)]]
    collision = [[2 * math.log(2), 3 * math.log(3)]]
    loss = WPO(beta=1)(scored(policy, reference, length=[[2, 3]], collision=collision))
    assert loss.item() == pytest.approx(0.75 * math.log(1.5), rel=1e-12)


@given(log_probs, log_probs, collisions, collisions)
def test_wpo_is_dpo_times_the_weight_in_value_and_gradient(chosen, rejected, first, second):
    gradients = []
    for objective in (WPO(beta=0.3), DPO(beta=0.3)):
        total = torch.tensor([[chosen, rejected]], dtype=torch.float64, requires_grad=True)
        candidates = scored(total, [[-9, -4]], length=[[3, 5]], collision=[[first, second]])
        loss = objective(candidates)
        loss.sum().backward()
        factor = pair_weight(candidates.policy.detach()) if isinstance(objective, DPO) else torch.ones(1)
        gradients.append((loss * factor, total.grad * factor))
    (ours, our_pull), (weighted, weighted_pull) = gradients
    torch.testing.assert_close(ours, weighted)
    torch.testing.assert_close(our_pull, weighted_pull)


@given(st.integers(2, 10**5), st.integers(1, 50), st.integers(1, 50))
def test_wpo_of_a_policy_that_is_uniform_over_its_vocabulary_is_dpo(vocabulary, chosen, rejected):
    # 1/V over V * 1/V^2 is 1 for every token
    each = math.log(vocabulary)
    length = [[chosen, rejected]]
    candidates = scored(
        [[-chosen * each, -rejected * each]], [[-9, -4]], length=length, collision=[[chosen * each, rejected * each]]
    )
    assert pair_weight(candidates.policy).item() == pytest.approx(1, rel=1e-9)
    assert WPO(beta=0.3)(candidates).item() == pytest.approx(DPO(beta=0.3)(candidates).item(), rel=1e-9)


@given(log_probs, log_probs, collisions, collisions, st.integers(1, 9))
def test_weight_is_at_most_one_and_does_not_depend_on_length(chosen, rejected, first, second, times):
    once = scored([[chosen, rejected]], length=[[3, 5]], collision=[[first, second]])
    longer = scored(
        [[times * chosen, times * rejected]],
        length=[[3 * times, 5 * times]],
        collision=[[times * first, times * second]],
    )
    torch.testing.assert_close(pair_weight(once.policy), pair_weight(longer.policy))
    assert 0 < pair_weight(once.policy).item() <= 1


def test_an_unlikely_pair_weighs_less():
    near = scored([[-1, -1]], [[-1, -1]], length=[[2, 2]], collision=[[1, 1]])
    far = scored([[-9, -9]], [[-9, -9]], length=[[2, 2]], collision=[[1, 1]])
    assert WPO()(far).item() < WPO()(near).item()


def test_an_unlikely_pair_weighs_more_where_the_policy_is_unsure_of_all():
    sure = scored([[-4, -4]], length=[[2, 2]], collision=[[1, 1]])
    unsure = scored([[-4, -4]], length=[[2, 2]], collision=[[3, 3]])
    assert pair_weight(sure.policy).item() < pair_weight(unsure.policy).item()
