"""EXO and its forward twin: by hand, against each other, against DPO, and against the theory on finite toys."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import log_softmax

from tests.scored import scored
from truenorth.contrasts import reverse_kl
from truenorth.errors import SettingsError
from truenorth.methods.dpo import DPO
from truenorth.methods.exo import EXO, DPOReward, EXOReward
from truenorth.methods.sdpo import SDPO

margins = st.floats(-12, 12)
epsilons = st.floats(1e-5, 0.49)


def close(got, expected, tolerance=1e-10):
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def rewards_of(epsilon):
    """Rewards whose softmax is (1 - epsilon, epsilon)."""
    return [[math.log1p(-epsilon), math.log(epsilon)]]


def test_exo_by_hand():
    # r = (1, -0.5), beta * r = (0.5, -0.25), so p = sigmoid(0.75); KL( (p, 1 - p) || (0.9, 0.1) )
    loss = EXO(beta=0.5, epsilon=0.1)(scored([[-1.0, -3.0]], [[-2.0, -2.5]]))
    p = 1 / (1 + math.exp(-0.75))
    assert loss.item() == pytest.approx(p * math.log(p / 0.9) + (1 - p) * math.log((1 - p) / 0.1), rel=1e-12)


def test_exo_from_rewards_by_hand():
    # beta * r = (log 2, 0, 0), so p = (1/2, 1/4, 1/4); rewards / 2 = (0, log 2, 0), so q = (1/4, 1/2, 1/4)
    candidates = scored([[2 * math.log(2), 0, 0]], rewards=[[0, 2 * math.log(2), 0]])
    loss = EXOReward(beta=0.5, reward_temperature=2.0)(candidates)
    assert loss.item() == pytest.approx(1 / 2 * math.log(2) + 1 / 4 * math.log(1 / 2), rel=1e-12)


def test_dpo_from_rewards_by_hand():
    # p and q as above: -(1/4 log 1/2 + 1/2 log 1/4 + 1/4 log 1/4)
    candidates = scored([[2 * math.log(2), 0, 0]], rewards=[[0, 2 * math.log(2), 0]])
    loss = DPOReward(beta=0.5, reward_temperature=2.0)(candidates)
    assert loss.item() == pytest.approx(1 / 4 * math.log(2) + 3 / 4 * math.log(4), rel=1e-12)


@given(margins, epsilons)
def test_exo_from_rewards_of_two_is_exo(margin, epsilon):
    candidates = scored([[margin, 0]], rewards=rewards_of(epsilon))
    close(EXOReward(beta=0.3, reward_temperature=1.0)(candidates), EXO(beta=0.3, epsilon=epsilon)(candidates))


@given(margins, epsilons)
def test_smoothed_dpo_is_exos_kl_the_other_way_round_up_to_entropy(margin, epsilon):
    candidates = scored([[margin, 0]])
    log_label = torch.tensor(rewards_of(epsilon), dtype=torch.float64)
    entropy = -(log_label.exp() * log_label).sum(-1)
    exo = EXO(beta=0.3, epsilon=epsilon)
    kl_the_other_way = reverse_kl(log_label, log_softmax(exo.implicit_rewards(candidates), -1))
    close(DPO(beta=0.3, label_smoothing=epsilon)(candidates), kl_the_other_way + entropy)


@given(margins, margins)
def test_dpo_from_one_certain_reward_is_softmax_dpo(first, second):
    candidates = scored([[first, second, 0]], rewards=[[1e4, 0, 0]])
    close(DPOReward(beta=0.3)(candidates), SDPO(beta=0.3)(candidates))


@given(margins)
def test_dpo_from_one_certain_reward_of_two_is_dpo(margin):
    candidates = scored([[margin, 0]], rewards=[[1e4, 0]])
    close(DPOReward(beta=0.3)(candidates), DPO(beta=0.3)(candidates))


@given(margins, epsilons)
def test_gradient_of_exo_is_the_papers(margin, epsilon):
    # dL/dm = sigmoid(m) sigmoid(-m) (m - log((1 - epsilon) / epsilon)) for the margin m, at beta = 1
    total = torch.tensor([[margin, 0.0]], dtype=torch.float64, requires_grad=True)
    EXO(beta=1.0, epsilon=epsilon)(scored(total)).sum().backward()
    m = torch.tensor(margin, dtype=torch.float64)
    close(total.grad[0, 0], m.sigmoid() * (-m).sigmoid() * (m - math.log((1 - epsilon) / epsilon)))


def test_exo_is_zero_at_the_margin_of_its_target():
    target_margin = math.log((1 - 1e-3) / 1e-3)
    assert EXO(beta=1.0)(scored([[target_margin, 0]])).item() == pytest.approx(0, abs=1e-12)


def test_exo_hardly_repairs_pairs_that_are_badly_the_wrong_way_round_where_dpo_does():
    def pull(objective):
        total = torch.tensor([[-40.0, 0.0]], dtype=torch.float64, requires_grad=True)
        objective(scored(total)).sum().backward()
        return -total.grad[0, 0].item()

    assert pull(EXO(beta=1.0)) < 1e-10
    assert pull(DPO(beta=1.0)) > 0.99


@given(st.lists(margins, min_size=4, max_size=4), st.floats(-5, 5))
def test_exo_from_rewards_is_zero_where_scores_match_rewards(rewards, shift):
    policy = [reward * 0.7 / 0.2 + shift for reward in rewards]  # beta * r = reward / reward_temperature + constant
    loss = EXOReward(beta=0.2, reward_temperature=1 / 0.7)(scored([policy], rewards=[rewards]))
    assert loss.item() == pytest.approx(0, abs=1e-10)


@given(st.lists(margins, min_size=4, max_size=4))
def test_both_directions_rest_where_scores_match_rewards(rewards):
    for objective in (EXOReward(beta=0.2, reward_temperature=1.0), DPOReward(beta=0.2, reward_temperature=1.0)):
        total = torch.tensor([[5 * reward for reward in rewards]], dtype=torch.float64, requires_grad=True)
        objective(scored(total, rewards=[rewards])).sum().backward()
        close(total.grad, torch.zeros_like(total))


def toy(*, uniform):
    """Eight outcomes: log pi_theta (a leaf), log pi_sft, rewards."""
    generator = torch.Generator().manual_seed(0)
    theta, sft, rewards = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    return theta.requires_grad_(), log_softmax(sft * (not uniform), -1), rewards


BETA_PI, BETA_R = 0.7, 0.4


def product_and_optimum(theta, log_sft, rewards):
    """log pi_theta^beta_pi, up to a constant, and log pi*_beta_r: the two that the paper's true KL compares."""
    product = BETA_PI * log_softmax(theta, -1) + (1 - BETA_PI) * log_sft
    return product, log_softmax(log_sft + rewards / BETA_R, -1)


def exo_of(theta, log_sft, rewards, drawn):
    """The loss on the responses `drawn`, [1, K] indices."""
    candidates = scored(log_softmax(theta, -1)[drawn], log_sft[drawn], rewards=rewards[drawn])
    return EXOReward(beta=BETA_PI, reward_temperature=BETA_R)(candidates).sum()


def test_exo_over_all_responses_of_a_uniform_reference_is_the_true_kl():
    theta, log_sft, rewards = toy(uniform=True)
    true_kl = reverse_kl(*product_and_optimum(theta, log_sft, rewards))
    close(exo_of(theta, log_sft, rewards, torch.arange(8)[None]), true_kl)


def test_gradient_of_exo_is_that_of_the_regularised_reward_over_minus_its_temperature():
    theta, log_sft, rewards = toy(uniform=True)
    log_p = log_softmax(product_and_optimum(theta, log_sft, rewards)[0], -1)
    objective = (log_p.exp() * (rewards - BETA_R * (log_p - log_sft))).sum()  # E[reward] - beta_r KL(p || sft)
    (expected,) = torch.autograd.grad(objective, theta)
    (gradient,) = torch.autograd.grad(exo_of(theta, log_sft, rewards, torch.arange(8)[None]), theta)
    close(gradient, -expected / BETA_R)


def test_exo_of_many_samples_has_the_gradient_of_the_true_kl():
    theta, log_sft, rewards = toy(uniform=False)
    drawn = torch.multinomial(log_sft.exp(), 100_000, replacement=True, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(exo_of(theta, log_sft, rewards, drawn[None]), theta)
    (expected,) = torch.autograd.grad(reverse_kl(*product_and_optimum(theta, log_sft, rewards)), theta)
    assert (gradient - expected).norm() < 0.02 * expected.norm()  # 1 / sqrt(samples) is 0.003


def test_exo_of_two_samples_has_a_smaller_gradient_in_nearly_the_same_direction():
    theta, log_sft, rewards = toy(uniform=False)
    drawn = torch.multinomial(log_sft.exp(), 40_000, replacement=True, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(exo_of(theta, log_sft, rewards, drawn.view(-1, 2)) / 20_000, theta)
    (expected,) = torch.autograd.grad(reverse_kl(*product_and_optimum(theta, log_sft, rewards)), theta)
    assert torch.cosine_similarity(gradient, expected, dim=0) > 0.8
    assert gradient.norm() < 0.6 * expected.norm()


@pytest.mark.parametrize("epsilon", [0.0, 0.5, -0.1])
def test_exo_refuses_an_epsilon_outside_its_range(epsilon):
    with pytest.raises(
        SettingsError, match=r"EXO's epsilon must lie in \(0, 0.5\), got .*: at 0 the loss is infinite"
    ):
        EXO(epsilon=epsilon)


@given(margins)
def test_exo_at_the_codes_epsilon_is_the_codes_loss_up_to_a_constant(margin):
    # the code's target is (1, e^-10), unnormalised
    candidates, epsilon = scored([[margin, 0]]), 1 / (1 + math.exp(10))
    exo = EXO(beta=0.3, epsilon=epsilon)
    code = reverse_kl(exo.implicit_rewards(candidates), torch.tensor([0.0, -10.0], dtype=torch.float64))
    close(exo(candidates), code - math.log1p(-epsilon))


@given(st.lists(margins, min_size=4, max_size=4), st.lists(margins, min_size=4, max_size=4), st.floats(-5, 5))
def test_exo_from_rewards_is_never_negative_and_zero_at_the_start_where_rewards_are_equal(policy, rewards, reward):
    assert EXOReward()(scored([policy], rewards=[rewards])).item() >= -1e-12
    assert EXOReward()(scored([policy], [policy], rewards=[[reward] * 4])).item() == pytest.approx(0, abs=1e-12)


@given(st.lists(margins, min_size=4, max_size=4), st.lists(margins, min_size=4, max_size=4))
def test_dpo_from_rewards_is_the_kl_the_other_way_round_and_the_entropy_of_its_target(policy, rewards):
    candidates, dpo = scored([policy], rewards=[rewards]), DPOReward()
    log_q, log_p = dpo.log_target(candidates), log_softmax(dpo.implicit_rewards(candidates), -1)
    close(dpo(candidates), reverse_kl(log_q, log_p) - (log_q.exp() * log_q).sum(-1))


def test_exo_grows_without_bound_as_epsilon_vanishes():
    # L / log(1 / epsilon) tends to the probability of the rejected response
    loss = EXO(beta=1.0, epsilon=1e-300)(scored([[1.0, 0.0]]))
    assert loss.item() / math.log(1e300) == pytest.approx(1 / (1 + math.e), rel=0.01)
