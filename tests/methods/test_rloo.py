"""RLOO is the exact policy gradient of reward less KL, and at the start DPO's gradient."""

import pytest
import torch

from tests.scored import scored
from tests.toy_lm import ANSWERS, candidates, distribution, expected_gradient, kl, logits
from truenorth.methods import recipe
from truenorth.methods.rloo import RLOO

REWARDS = torch.linspace(-1, 2, len(ANSWERS), dtype=torch.float64).square()


def test_a_value_by_hand():
    # rewards less beta times log-ratios: 1 - 0.1 * 2 = 0.8 and 0 + 0.1 * 1 = 0.1; advantages +-0.7
    loss = RLOO(beta=0.1)(scored([(-10.0, -20.0)], [(-12.0, -19.0)], rewards=[(1.0, 0.0)]))
    assert loss.item() == pytest.approx(-(0.7 * -10 - 0.7 * -20) / 2)


@pytest.mark.parametrize("k", [2, 3])
def test_its_gradient_is_that_of_expected_reward_less_kl(k):
    policy, reference, beta = logits(1), logits(2), 0.3

    def loss(model, answers):
        rewards = REWARDS[[ANSWERS.index(answer) for answer in answers]][None]
        return RLOO(beta=beta)(candidates(model, answers, {"initial": reference}, rewards=rewards))

    leaf = policy.clone().requires_grad_()
    goal = (distribution(leaf).exp() * REWARDS).sum() - beta * kl(leaf, reference)
    (exact,) = torch.autograd.grad(-goal, leaf)
    torch.testing.assert_close(expected_gradient(policy, loss, k), exact, rtol=0, atol=1e-14)


def test_at_the_start_its_gradient_of_a_pair_is_dpos_where_the_rewards_are_beta_apart():
    total = torch.tensor([[-10.0, -12.0]], dtype=torch.float64, requires_grad=True)
    found = []
    for objective in (RLOO(), recipe("dpo", beta=0.25).objective):
        loss = objective(scored(total, total.detach(), rewards=[(0.25, 0.0)]))
        found.append(torch.autograd.grad(loss.sum(), total)[0])
    torch.testing.assert_close(*found)


def test_salsa_has_the_same_gradient_with_a_soup_in_the_references_place():
    candidates = scored([(-10.0, -20.0)], [(-12.0, -19.0)], rewards=[(1.0, 0.0)])
    assert torch.equal(recipe("salsa_rl").objective(candidates), RLOO()(candidates))
    assert recipe("salsa_rl").references["initial"].kind == "soup"
