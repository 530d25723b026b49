"""Online DPO is DPO on answers of the policy's own: the loss is the same, and what is new is in the rounds."""

import math

import pytest
import torch

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods import recipe
from truenorth.models.references import Cached


def test_a_value_by_hand():
    # beta 0.1, log-ratios 2 and -3: margin 0.5
    loss = recipe("online_dpo").objective(scored([(-10.0, -20.0)], [(-12.0, -17.0)]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.5)))


def test_its_loss_is_dpos():
    candidates = scored([(-10.0, -20.0)], [(-12.0, -17.0)])
    assert torch.equal(recipe("online_dpo").objective(candidates), recipe("dpo").objective(candidates))


def test_its_pair_cannot_be_known_before():
    with pytest.raises(SettingsError, match="the rows of a round are not there before it"):
        recipe("online_dpo").replace(references={"initial": Cached()})


def test_fewer_answers_than_a_pair_are_refused():
    made = recipe("online_dpo")
    with pytest.raises(SettingsError, match=r"a round has 1, of which it makes comparisons. Give --k"):
        made.replace(schedule=made.schedule.replace(k=1))
