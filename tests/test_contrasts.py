"""The three contrasts: their identities, their gradients, and that nothing overflows."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import log_softmax

from truenorth.contrasts import cross_entropy, reverse_kl, soft_pair

numbers = st.floats(-30, 30)
scores = st.lists(numbers, min_size=4, max_size=4).map(lambda row: torch.tensor([row], dtype=torch.float64))


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_soft_pair_at_a_known_margin():
    # 0.9 log(1 + e^-2) + 0.1 log(1 + e^2)
    loss = soft_pair(torch.tensor([2.0], dtype=torch.float64), 0.9)
    assert loss.item() == pytest.approx(0.9 * math.log1p(math.exp(-2)) + 0.1 * math.log1p(math.exp(2)), rel=1e-12)


@given(numbers, st.floats(0, 1))
def test_soft_pair_is_the_cross_entropy_of_two(margin, probability):
    margin = torch.tensor([margin], dtype=torch.float64)
    logits = torch.stack([margin, torch.zeros_like(margin)], -1)
    target = torch.tensor([[probability, 1 - probability]], dtype=torch.float64)
    close(soft_pair(margin, probability), cross_entropy(logits, target))


@given(numbers)
def test_soft_pair_of_an_even_bet_ignores_which_is_chosen(margin):
    margin = torch.tensor([margin], dtype=torch.float64)
    close(soft_pair(margin, 0.5), soft_pair(-margin, 0.5))


@given(scores, scores)
def test_cross_entropy_less_the_targets_entropy_is_a_kl(logits, target_logits):
    log_target = log_softmax(target_logits, -1)
    entropy = -(log_target.exp() * log_target).sum(-1)
    close(cross_entropy(logits, log_target.exp()) - entropy, reverse_kl(target_logits, log_softmax(logits, -1)))


@given(scores, scores)
def test_reverse_kl_is_never_negative(logits, target_logits):
    assert reverse_kl(logits, log_softmax(target_logits, -1)).item() >= -1e-12


@given(scores, numbers)
def test_reverse_kl_is_zero_where_the_scores_match_up_to_a_constant(logits, shift):
    close(reverse_kl(logits, log_softmax(logits + shift, -1)), torch.zeros(1, dtype=torch.float64))


@given(scores, scores)
def test_gradient_of_reverse_kl_is_p_times_what_exceeds_the_kl(logits, target_logits):
    logits = logits.requires_grad_()
    log_target = log_softmax(target_logits, -1)
    kl = reverse_kl(logits, log_target)
    (gradient,) = torch.autograd.grad(kl.sum(), logits)
    log_p = log_softmax(logits, -1)
    close(gradient, log_p.exp() * (log_p - log_target - kl[:, None]))


@pytest.mark.parametrize("margin", [-1e4, 1e4])
@pytest.mark.parametrize("probability", [0.0, 0.9, 1.0])
def test_soft_pair_and_its_gradient_are_finite_at_ten_thousand_nats(margin, probability):
    margin = torch.tensor([margin], requires_grad=True)
    loss = soft_pair(margin, probability)
    loss.backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(margin.grad).all()


@pytest.mark.parametrize("contrast", [cross_entropy, reverse_kl])
@pytest.mark.parametrize("signs", [(1, -1, 0), (-1, 1, 0), (1, 1, -1)])
def test_contrasts_over_k_and_their_gradients_are_finite_at_ten_thousand_nats(contrast, signs):
    logits = (1e4 * torch.tensor([signs])).requires_grad_()
    log_target = log_softmax(torch.tensor([[-1e4, 0.0, 1e4]]), -1)
    loss = contrast(logits, log_target.exp() if contrast is cross_entropy else log_target)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logits.grad).all()


def test_cross_entropy_of_a_certain_target_is_minus_its_log_probability():
    logits = torch.tensor([[1.0, -1.0, 0.5]], dtype=torch.float64)
    close(cross_entropy(logits, torch.tensor([[0.0, 1.0, 0.0]])), -log_softmax(logits, -1)[:, 1])
