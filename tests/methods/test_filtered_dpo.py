"""Filtered DPO is DPO on the pairs that are left; which these are is tested with `online.selecting`."""

import pytest
import torch

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods import recipe
from truenorth.selection import BeatsOwn


def test_a_value_by_hand():
    # margin 0.1 * (2 + 1) = 0.3
    loss = recipe("filtered_dpo", beta=0.1).objective(scored([(-10.0, -20.0)], [(-12.0, -19.0)]))
    assert loss.item() == pytest.approx(-torch.sigmoid(torch.tensor(0.3)).log().item())


def test_its_loss_is_dpos():
    pairs = scored([(-10.0, -20.0), (-7.0, -3.0)], [(-12.0, -19.0), (-7.5, -3.5)])
    assert torch.equal(recipe("filtered_dpo").objective(pairs), recipe("dpo").objective(pairs))
    assert recipe("filtered_dpo").objective.selection == BeatsOwn()


def test_it_needs_rounds_over_rows_of_the_data():
    made = recipe("filtered_dpo")
    with pytest.raises(SettingsError, match="Give the recipe a `schedule`"):
        made.replace(schedule=None)
    with pytest.raises(SettingsError, match=r"needs schedule\.compared=both, got drawn"):
        made.replace(schedule=made.schedule.replace(compared="drawn", k=2))
