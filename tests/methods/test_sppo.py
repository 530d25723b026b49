"""SPPO in rounds: by hand, as SPPO from labels where wins are certain, and at its goal the game's own step."""

import dataclasses

import pytest
import torch

from tests.scored import scored
from truenorth.methods.sppo_hard import SPPO, SPPOHard


def against_round(policy, start, wins):
    found = scored(policy, start)
    return dataclasses.replace(
        found, references={"round": found.references["initial"]}, wins=torch.tensor([wins], dtype=torch.float64)
    )


def test_a_value_by_hand():
    # win rates 0.75, 0.45 and 0.3: goals 2.5, -0.5 and -2 nats; log-ratios 2, 9 and 0.5
    wins = ((0.5, 0.7, 0.8), (0.3, 0.5, 0.6), (0.2, 0.4, 0.5))
    loss = SPPO(beta=0.1)(against_round([(-10.0, -1.0, -9.5)], [(-12.0, -10.0, -10.0)], wins))
    assert loss.item() == pytest.approx((2 - 2.5) ** 2 + (0.5 + 2.0) ** 2)


def test_certain_wins_are_labels():
    candidates = against_round([(-10.0, -20.0)], [(-12.0, -19.0)], ((0.5, 1.0), (0.0, 0.5)))
    labelled = scored([(-10.0, -20.0)], [(-12.0, -19.0)])
    torch.testing.assert_close(SPPO(beta=0.1)(candidates), SPPOHard(beta=0.1)(labelled))


def test_a_pair_that_is_even_stays_where_it_was():
    policy = torch.tensor([[-10.0, -20.0]], dtype=torch.float64, requires_grad=True)
    loss = SPPO()(against_round(policy, policy.detach(), ((0.5, 0.5), (0.5, 0.5))))
    (gradient,) = torch.autograd.grad(loss.sum(), policy)
    assert loss.item() == 0
    assert not gradient.any()
