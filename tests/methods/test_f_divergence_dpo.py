"""DPO under other divergences: by hand, as DPO in the limit, and the optimal policies on a finite toy."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import log_softmax

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.f_divergence_dpo import FDivergenceDPO, JensenShannonDPO

log_ratios, alphas = st.floats(-8, 8), st.floats(0.05, 1)


def test_alpha_divergence_by_hand():
    # u = (4, 1/4): f' = (1 - 1/2) / 0.5 = 1 and (1 - 2) / 0.5 = -2
    loss = FDivergenceDPO(beta=0.3, alpha=0.5)(scored([[math.log(4), -math.log(4)]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.9)), rel=1e-12)


def test_forward_kl_by_hand():
    # f'(u) = 1 - 1 / u: 1/2 and -1
    loss = FDivergenceDPO(beta=0.3, alpha=1)(scored([[math.log(2), -math.log(2)]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.45)), rel=1e-12)


def test_jensen_shannon_by_hand():
    # u = (3, 1): f' = log(6 / 4) and log 1
    loss = JensenShannonDPO(beta=2)(scored([[math.log(3), 0]]))
    assert loss.item() == pytest.approx(math.log(1 + (2 / 3) ** 2), rel=1e-12)


@given(log_ratios, log_ratios)
def test_reverse_kl_is_dpo(chosen, rejected):
    candidates = scored([[chosen, rejected]])
    reverse = FDivergenceDPO(beta=0.3, alpha=0)(candidates).item()
    assert reverse == pytest.approx(DPO(beta=0.3)(candidates).item(), rel=1e-12)


@given(log_ratios, log_ratios)
def test_small_alpha_goes_to_dpo(chosen, rejected):
    candidates = scored([[chosen, rejected]])
    nearly = FDivergenceDPO(beta=0.3, alpha=1e-9)(candidates).item()
    assert nearly == pytest.approx(DPO(beta=0.3)(candidates).item(), rel=1e-6)


@given(st.floats(-12, -6), st.floats(-12, -6))
def test_jensen_shannon_is_dpo_where_the_policy_likes_neither_response(chosen, rejected):
    # log(2 u / (1 + u)) goes to log u + log 2
    candidates = scored([[chosen, rejected]])
    js = JensenShannonDPO(beta=0.3)(candidates).item()
    assert js == pytest.approx(DPO(beta=0.3)(candidates).item(), abs=2e-3)  # 0.3 * log(1 + exp(-6)) = 7e-4


@pytest.mark.parametrize("objective", [FDivergenceDPO(alpha=0.5), FDivergenceDPO(alpha=1), JensenShannonDPO()])
@given(st.floats(-6, 6))
def test_reward_is_the_slope_of_the_divergences_f(objective, log_u):
    def f(u):
        if isinstance(objective, JensenShannonDPO):
            return u * u.log() - (u + 1) * ((u + 1) / 2).log()
        if objective.alpha == 1:
            return u - u.log()  # a multiple of u - 1 changes no divergence
        alpha = objective.alpha
        return (u ** (1 - alpha) - (1 - alpha) * u - alpha) / (alpha * (alpha - 1))

    u = torch.tensor([math.exp(log_u)], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(f(u).sum(), u)
    reward = objective.implicit_rewards(scored([[log_u, 0]]))[:, 0]
    torch.testing.assert_close(reward, objective.beta * slope, rtol=1e-8, atol=1e-10)


def test_pairs_from_rewards_lead_to_the_policy_that_the_divergence_makes_best():
    """Four responses, all pairs with Bradley-Terry labels: f'(u) = (reward - lambda) / beta at the minimum."""
    generator = torch.Generator().manual_seed(0)
    rewards, start = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    log_ref = log_softmax(start, -1)
    objective = FDivergenceDPO(beta=1.0, alpha=0.5)
    theta = log_ref.clone().requires_grad_()
    first, second = torch.triu_indices(4, 4, offset=1)
    optimizer = torch.optim.LBFGS([theta], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        log_pi = log_softmax(theta, -1)
        better = torch.sigmoid(rewards[first] - rewards[second])
        won, lost = (
            objective(scored(torch.stack([log_pi[a], log_pi[b]], -1), torch.stack([log_ref[a], log_ref[b]], -1)))
            for a, b in ((first, second), (second, first))
        )
        loss = (better * won + (1 - better) * lost).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    u = (log_softmax(theta, -1) - log_ref).exp()
    slope = (1 - u**-0.5) / 0.5
    torch.testing.assert_close(slope - slope[0], rewards - rewards[0], rtol=1e-4, atol=1e-4)  # LBFGS stops there


def test_jensen_shannon_rewards_stay_below_beta_times_log_two():
    rewards = JensenShannonDPO(beta=0.5).implicit_rewards(scored([[1e3, -1e3]]))
    assert rewards[0, 0].item() == pytest.approx(0.5 * math.log(2), rel=1e-12)


def test_forward_kl_pulls_a_chosen_response_that_the_policy_has_lost():
    total = torch.tensor([[-1000.0, 0.0]], requires_grad=True)
    FDivergenceDPO(alpha=1)(scored(total)).sum().backward()
    assert total.grad is not None
    assert total.grad[0, 0] < -1e6
