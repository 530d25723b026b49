"""NCA by hand, from rewards and from labels, and what it holds up."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.nca import NCA, NCAReward
from truenorth.methods.sdpo import SDPO

log_ratios = st.floats(-12, 12)


def log1pexp(x):
    return math.log(1 + math.exp(x))


def test_nca_of_a_pair_by_hand():
    # beta * r = (0.5, -0.25)
    loss = NCA(beta=0.5)(scored([[-1, -3]], [[-2, -2.5]]))
    assert loss.item() == pytest.approx(log1pexp(-0.5) + (log1pexp(0.5) + log1pexp(-0.25)) / 2, rel=1e-12)


def test_nca_from_rewards_by_hand():
    # rewards / 2 = (log 3, 0), so q = (3/4, 1/4)
    loss = NCAReward(beta=0.5, reward_temperature=2)(
        scored([[-1, -3]], [[-2, -2.5]], rewards=[[2 * math.log(3), 0]]),
    )
    expected = 0.75 * log1pexp(-0.5) + 0.25 * log1pexp(0.25) + (log1pexp(0.5) + log1pexp(-0.25)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@given(log_ratios, log_ratios, log_ratios)
def test_nca_from_one_certain_reward_is_nca(first, second, third):
    candidates = scored([[first, second, third]], rewards=[[1e4, 0, 0]])
    assert NCAReward(beta=0.3)(candidates).item() == pytest.approx(NCA(beta=0.3)(candidates).item(), rel=1e-10)


@given(log_ratios)
def test_nca_of_k_equal_responses_pulls_the_chosen_as_softmax_dpo_does_at_the_reference(log_ratio):
    # d/dr: -(1/2) + 1/(2K) for NCA at r = 0, -(1 - 1/K) for softmax DPO: half of it, whatever K
    for k in (2, 3, 5):
        pulls = []
        for objective in (NCA(beta=0.3), SDPO(beta=0.3)):
            total = torch.full((1, k), log_ratio, dtype=torch.float64, requires_grad=True)
            objective(scored(total, [[log_ratio] * k])).sum().backward()
            assert total.grad is not None
            pulls.append(total.grad)
        torch.testing.assert_close(pulls[0], pulls[1] / 2)


def test_nca_from_rewards_rests_where_density_ratios_are_the_rewards_weights():
    # sigmoid(-x) q = sigmoid(x) / K at x = log(K q): K q is the ratio to the reference that the rewards ask for
    q = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    total = ((3 * q).log() / 0.2).requires_grad_()
    NCAReward(beta=0.2, reward_temperature=1)(scored(total, rewards=q.log())).sum().backward()
    torch.testing.assert_close(total.grad, torch.zeros_like(total), rtol=0, atol=1e-12)


def test_lowering_both_responses_alike_costs_in_nca():
    assert NCA(beta=0.5)(scored([[-5, -7]])).item() > NCA(beta=0.5)(scored([[0, -2]])).item()
