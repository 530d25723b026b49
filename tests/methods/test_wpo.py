"""WPO by hand, as weighted DPO, and its gradient with the weight held."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.wpo import WPO, pair_weight

log_probs = st.floats(-60, -0.1)


def test_wpo_by_hand():
    # probabilities per token 1/2 and 1/4, r = (log 2, 0), margin log 2
    policy = [[-2 * math.log(2), -3 * math.log(4)]]
    loss = WPO(beta=1)(scored(policy, [[-3 * math.log(2), -3 * math.log(4)]], length=[[2, 3]]))
    assert loss.item() == pytest.approx(math.log(1.5) / 8, rel=1e-12)


@given(log_probs, log_probs)
def test_wpo_is_dpo_times_the_weight_in_value_and_gradient(chosen, rejected):
    gradients = []
    for objective in (WPO(beta=0.3), DPO(beta=0.3)):
        total = torch.tensor([[chosen, rejected]], dtype=torch.float64, requires_grad=True)
        candidates = scored(total, [[-9, -4]], length=[[3, 5]])
        loss = objective(candidates)
        loss.sum().backward()
        factor = pair_weight(candidates.policy.detach()) if isinstance(objective, DPO) else torch.ones(1)
        gradients.append((loss * factor, total.grad * factor))
    (ours, our_pull), (weighted, weighted_pull) = gradients
    torch.testing.assert_close(ours, weighted)
    torch.testing.assert_close(our_pull, weighted_pull)


def test_wpo_of_responses_that_the_policy_is_sure_of_is_dpo():
    candidates = scored([[0.0, 0.0]], [[-9, -4]])
    assert WPO(beta=0.3)(candidates).item() == pytest.approx(DPO(beta=0.3)(candidates).item(), rel=1e-12)


@given(log_probs, log_probs, st.integers(1, 9))
def test_weight_is_at_most_one_and_does_not_depend_on_length(chosen, rejected, times):
    once = scored([[chosen, rejected]], length=[[3, 5]])
    longer = scored([[times * chosen, times * rejected]], length=[[3 * times, 5 * times]])
    torch.testing.assert_close(pair_weight(once.policy), pair_weight(longer.policy))
    assert 0 < pair_weight(once.policy).item() <= 1


def test_an_unlikely_pair_weighs_less():
    near = scored([[-1, -1]], [[-1, -1]], length=[[2, 2]])
    far = scored([[-9, -9]], [[-9, -9]], length=[[2, 2]])
    assert WPO()(far).item() < WPO()(near).item()
