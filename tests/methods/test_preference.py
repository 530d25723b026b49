"""Preference models by hand, turned round, and beside reward models."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.judge import Wins
from truenorth.methods.preference import Preference
from truenorth.methods.reward import Reward

scores = st.floats(-30, 30)


def test_preference_by_hand():
    # Shown first, the better answer wins with odds e^2; shown last, it loses with odds e^1.
    expected = 0.5 * math.log1p(math.exp(-2)) + 0.5 * math.log1p(math.exp(1))
    assert Preference()(scored([[2, 1]])).item() == pytest.approx(expected, rel=1e-12)


@given(scores, scores)
def test_another_order_is_the_other_preference(first, last):
    objective = Preference()
    wins, turned = objective.wins(scored([[first, last]])), objective.wins(scored([[last, first]]))
    torch.testing.assert_close(turned, wins.transpose(1, 2), rtol=0, atol=1e-15)
    torch.testing.assert_close(wins + wins.transpose(1, 2), torch.ones_like(wins), rtol=0, atol=1e-15)


@given(scores)
def test_a_model_that_only_likes_the_first_place_says_a_half(first):
    assert Preference().wins(scored([[first, first]]))[0, 0, 1].item() == pytest.approx(0.5, abs=1e-15)


@given(scores, scores)
def test_it_is_what_the_judge_makes_of_both_orders(first, last):
    p = [1 / (1 + math.exp(-s)) for s in (first, last)]
    judged = Wins.of({(0, 1): p[0], (1, 0): p[1]}).wins[0][1]
    assert Preference().wins(scored([[first, last]]))[0, 0, 1].item() == pytest.approx(judged, abs=1e-12)


@given(scores, scores)
def test_on_differences_of_scores_it_is_the_reward_model(better, worse):
    # A pairwise model that has learnt a score: s(x, y, y') = r(y) - r(y').
    margin, rewards = better - worse, scored([[better, worse]])
    pairwise = scored([[margin, -margin]])
    torch.testing.assert_close(Preference()(pairwise), Reward()(rewards), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(Preference().wins(pairwise), Reward().wins(rewards), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        Preference().implicit_rewards(pairwise).diff(), Reward().implicit_rewards(rewards).diff(), rtol=1e-9, atol=1e-9
    )


def test_a_tie_is_best_answered_with_a_half():
    tied = torch.tensor([[0.2, 0.2]], dtype=torch.float64)
    at = {s: Preference()(replace(scored([[s, s]]), rewards=tied)).item() for s in (-0.1, 0.0, 0.1)}
    assert min(at, key=at.__getitem__) == 0.0
    assert at[0.0] == pytest.approx(math.log(2), rel=1e-12)
