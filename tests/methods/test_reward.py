"""Reward models by hand, as DPO with other rewards, and what leaves them as they are."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods import recipe
from truenorth.methods.dpo import DPO
from truenorth.methods.reward import PlackettLuce, Reward
from truenorth.schedule import Rounds

scores = st.floats(-30, 30)


def test_reward_by_hand():
    # Three answers, 1 point and 2 points apart: log(1 + e^-1), log(1 + e^-3), log(1 + e^-2).
    expected = sum(math.log1p(math.exp(-m)) for m in (1, 3, 2)) / 3
    assert Reward()(scored([[2, 1, -1]])).item() == pytest.approx(expected, rel=1e-12)


def test_plackett_luce_by_hand():
    rest = math.log(math.exp(2) + math.exp(1) + math.exp(-1)) - 2 + math.log(math.exp(1) + math.exp(-1)) - 1
    assert PlackettLuce()(scored([[2, 1, -1]])).item() == pytest.approx(rest, rel=1e-12)


@given(scores, scores)
def test_reward_of_a_pair_is_dpo_with_its_scores_as_implicit_rewards(chosen, rejected):
    candidates = scored([[chosen, rejected]], [[0.0, 0.0]])
    assert torch.equal(Reward()(candidates), DPO(beta=1.0)(candidates))


@given(scores, scores)
def test_plackett_luce_of_a_pair_is_bradley_terry(chosen, rejected):
    candidates = scored([[chosen, rejected]])
    torch.testing.assert_close(PlackettLuce()(candidates), Reward()(candidates), rtol=1e-12, atol=1e-12)


@given(scores, scores)
def test_ties_are_half_a_win_of_each(first, second):
    candidates = replace(scored([[first, second]]), rewards=torch.tensor([[0.3, 0.3]], dtype=torch.float64))
    margin = torch.tensor([first - second], dtype=torch.float64)
    expected = -0.5 * (torch.nn.functional.logsigmoid(margin) + torch.nn.functional.logsigmoid(-margin))
    torch.testing.assert_close(Reward()(candidates), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("objective", [Reward(), PlackettLuce()])
def test_tied_answers_may_change_places(objective):
    data = torch.tensor([[0.9, 0.5, 0.5, 0.1]], dtype=torch.float64)
    loss = objective(replace(scored([[1.0, 2.0, -1.0, 0.5]]), rewards=data))
    swapped = objective(replace(scored([[1.0, -1.0, 2.0, 0.5]]), rewards=data))
    torch.testing.assert_close(loss, swapped, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("objective", [Reward(), PlackettLuce()])
def test_scores_of_the_data_that_only_order_say_as_much_as_the_order(objective):
    candidates = scored([[1.0, 2.0, -1.0]])
    ordered = replace(candidates, rewards=torch.tensor([[7.0, 1.0, 0.5]], dtype=torch.float64))
    assert torch.equal(objective(candidates), objective(ordered))


@given(scores, scores, scores)
def test_the_judges_wins_add_up_to_one_and_turn_with_the_order(a, b, c):
    wins = Reward().wins(scored([[a, b, c]]))
    torch.testing.assert_close(wins + wins.transpose(1, 2), torch.ones_like(wins), rtol=0, atol=1e-12)
    turned = Reward().wins(scored([[c, b, a]]))
    torch.testing.assert_close(turned, wins.flip(1, 2), rtol=0, atol=0)


def test_plackett_luce_of_no_opinion_is_the_log_of_the_number_of_rankings():
    assert PlackettLuce()(scored([[0, 0, 0, 0]])).item() == pytest.approx(math.log(24), rel=1e-12)


def test_a_judge_is_not_trained_in_rounds():
    with pytest.raises(SettingsError, match="Reward trains a judge, and rounds of self-play train a policy"):
        recipe("reward").replace(schedule=Rounds())
