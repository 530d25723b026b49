"""MRPO by hand, and as DPO with one of its references."""

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.mrpo import MRPO, MRPOGeometric
from truenorth.types import LogProbs

log_probs = st.floats(-60, -0.1)
responses = st.tuples(log_probs, log_probs)
both_means = pytest.mark.parametrize("method", [MRPO, MRPOGeometric])


def referring(policy, *references):
    """One pair with several references: initial, second, third, ..."""
    names = ("initial", "second", "third")
    candidates = scored([policy])
    given = {
        name: LogProbs(torch.tensor([totals], dtype=torch.float64), candidates.policy.length)
        for name, totals in zip(names, references, strict=False)
    }
    return dataclasses.replace(candidates, references=given)


def log_mean(*probabilities):
    """Log of the harmonic mean with equal weights."""
    return -math.log(sum(1 / p for p in probabilities) / len(probabilities))


def test_mrpo_by_hand():
    # equal weights and no clip; pi_ref(chosen) = 2 / (1/0.5 + 1/0.1), pi_ref(rejected) = 2 / (1/0.2 + 1/0.4)
    candidates = referring((-1.0, -3.0), (math.log(0.5), math.log(0.2)), (math.log(0.1), math.log(0.4)))
    margin = (-1.0 - log_mean(0.5, 0.1)) - (-3.0 - log_mean(0.2, 0.4))
    loss = MRPO(beta=0.5, clip=1e6, adaptivity=0.0)(candidates)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.5 * margin)), rel=1e-12)


def test_weights_by_hand():
    # gaps 1 and 3: weights 1/4 and 3/4 of a geometric mean
    candidates = referring((-1.0, -3.0), (-4.0, -5.0), (-2.0, -5.0))
    rewards = MRPOGeometric(beta=1.0, clip=1e6).implicit_rewards(candidates)
    assert rewards.tolist()[0] == pytest.approx([-1.0 + 0.25 * 4 + 0.75 * 2, -3.0 + 5.0])


def test_clip_by_hand():
    # mean log-probs -3 and -9 share the clip of 0.4 as 0.1 and 0.3: -2 is held at 0.9 * -4, -14 at 1.3 * -4
    candidates = referring((0.0, 0.0), (-4.0, -4.0), (-2.0, -14.0))
    found = MRPOGeometric(beta=1.0, clip=0.4, adaptivity=0.0).implicit_rewards(candidates)
    assert found.tolist()[0] == pytest.approx([(4 + 3.6) / 2, (4 + 5.2) / 2])


@both_means
@given(responses, responses)
def test_equal_references_are_dpo_with_one(method, policy, reference):
    several, one = referring(policy, reference, reference, reference), referring(policy, reference)
    assert method(beta=0.3)(several).item() == pytest.approx(DPO(beta=0.3)(one).item(), rel=1e-9)


@both_means
@given(responses, responses)
def test_one_reference_alone_is_dpo(method, policy, reference):
    one = referring(policy, reference)
    assert method(beta=0.3)(one).item() == pytest.approx(DPO(beta=0.3)(one).item(), rel=1e-9)


@both_means
@given(responses, responses, responses)
def test_a_clip_of_zero_is_dpo_with_the_anchor(method, policy, initial, second):
    found = method(beta=0.3, clip=0.0)(referring(policy, initial, second))
    assert found.item() == pytest.approx(DPO(beta=0.3)(referring(policy, initial)).item(), rel=1e-9)


@both_means
@given(responses, responses)
def test_all_weight_on_the_reference_that_tells_best_apart_is_dpo_with_it(method, policy, initial):
    second = (-1.0, -1.0 - 3 * abs(initial[0] - initial[1]) - 5)
    found = method(beta=0.3, clip=1e6, adaptivity=2000.0)(referring(policy, initial, second))
    assert found.item() == pytest.approx(DPO(beta=0.3)(referring(policy, second)).item(), rel=1e-9)


@both_means
def test_with_a_reference_of_another_model_the_start_is_not_log_two(method):
    found = method()(referring((-6.0, -9.0), (-6.0, -9.0), (-6.3, -8.5)))
    assert abs(found.item() - math.log(2)) > 1e-3


@given(responses, responses, responses, responses)
def test_the_harmonic_mean_is_never_above_the_geometric(policy, initial, second, third):
    candidates = referring(policy, initial, second, third)
    harmonic, geometric = (method().implicit_rewards(candidates) for method in (MRPO, MRPOGeometric))
    assert (harmonic >= geometric - 1e-9).all()  # of rewards, from which they are taken off


@both_means
@given(responses, responses, responses, responses)
def test_the_order_of_further_references_says_nothing(method, policy, initial, second, third):
    there, back = (referring(policy, initial, *others) for others in ((second, third), (third, second)))
    assert method()(there).item() == pytest.approx(method()(back).item(), rel=1e-9)


@both_means
def test_references_at_their_ends_leave_finite_numbers(method):
    for initial, second in itertools.product(itertools.product([-1e4, 0.0], repeat=2), repeat=2):
        candidates = referring((-1e4, 0.0), initial, second)
        candidates.policy.total.requires_grad_()
        loss = method()(candidates)
        loss.sum().backward()
        assert torch.isfinite(loss).all()
        assert torch.isfinite(candidates.policy.total.grad).all()
