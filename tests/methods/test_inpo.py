"""INPO by hand, as IPO at both ends of its pull, and its minimiser on a game as mirror descent's step."""

import dataclasses

import pytest
import torch

from tests.scored import scored
from truenorth.methods.inpo import INPO
from truenorth.methods.ipo import IPO


def candidates(policy, initial, start):
    found = scored(policy, initial)
    return dataclasses.replace(
        found, references={**found.references, "round": scored(policy, start).references["initial"]}
    )


def test_a_value_by_hand():
    # h = 0.25 * (2, -1) + 0.75 * (4, 1): margin 3, goal 2.5
    drawn = candidates([(-10.0, -20.0)], [(-12.0, -19.0)], [(-14.0, -21.0)])
    assert INPO(eta=0.2, pull=0.25)(drawn).item() == pytest.approx((3 - 2.5) ** 2)


@pytest.mark.parametrize(("pull", "reference"), [(1.0, [(-12.0, -19.0)]), (0.0, [(-14.0, -21.0)])])
def test_at_both_ends_it_is_ipo_against_one_reference(pull, reference):
    drawn = candidates([(-10.0, -20.0)], [(-12.0, -19.0)], [(-14.0, -21.0)])
    ipo = IPO(beta=0.2)(scored([(-10.0, -20.0)], reference))
    torch.testing.assert_close(INPO(eta=0.2, pull=pull)(drawn), ipo)


def test_mirror_descents_next_policy_is_where_the_expected_gradient_vanishes():
    # Pairs y, y' of the round's policy, won with P(y > y'): over all of them the loss is least at
    # pi propto pi_initial^pull pi_round^(1 - pull) exp( P(y > pi_round) / eta ).
    eta, pull, draw = 0.7, 0.3, torch.Generator().manual_seed(0)
    odds, initial, start = (torch.randn(4, 4, generator=draw, dtype=torch.float64) for _ in range(3))
    wins = torch.sigmoid(odds - odds.T)
    initial, start = torch.log_softmax(initial[0], -1), torch.log_softmax(start[0], -1)
    best = pull * initial + (1 - pull) * start + wins @ start.exp() / eta
    policy = torch.log_softmax(best, -1).requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for i in range(4):
        for j in range(4):
            pair = torch.tensor([[i, j]])
            drawn = candidates(*(part[pair] for part in (policy, initial, start)))
            total = total + start.exp()[i] * start.exp()[j] * wins[i, j] * INPO(eta=eta, pull=pull)(drawn).sum()
    (gradient,) = torch.autograd.grad(total, policy)
    assert gradient.abs().max() < 1e-12
