"""AIHF by hand, and its reductions to DPO, SFT and RPO."""

import math

import pytest
import torch

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods import recipe
from truenorth.methods.aihf import AIHF
from truenorth.methods.dpo import DPO
from truenorth.methods.rpo import RPO
from truenorth.methods.sft import SFT

PAIRS = scored([[-6.0, -5.0], [-8.0, -9.5]], [[-6.5, -4.0], [-7.0, -9.0]])
CHOSEN = scored([[-6.0], [-8.0]], [[-6.5], [-7.0]], length=[[3], [4]])  # of the pairs, as demonstrations


def test_aihf_by_hand():
    # log-ratios 1 and -1, margin beta * 2 = 1; and 6 nats of a demonstration
    loss = AIHF(beta=0.5, demonstration_weight=0.1, preference_weight=2.0)
    assert loss(scored([[-5.0, -6.0]], [[-6.0, -5.0]])).item() == pytest.approx(2 * math.log1p(math.exp(-1)))
    assert loss(scored([[-6.0]])).item() == pytest.approx(0.6)


def test_without_demonstrations_it_is_dpo():
    torch.testing.assert_close(AIHF(beta=0.3, demonstration_weight=0)(PAIRS), DPO(beta=0.3)(PAIRS), rtol=1e-12, atol=0)


def test_without_pairs_it_is_sft_summed_over_tokens():
    loss = AIHF(demonstration_weight=1.0, preference_weight=0.0)
    torch.testing.assert_close(loss(CHOSEN), SFT()(CHOSEN) * CHOSEN.policy.length[:, 0], rtol=1e-12, atol=0)
    assert loss(PAIRS).tolist() == [0.0, 0.0]


def test_with_the_chosen_answers_as_demonstrations_it_is_rpo():
    beta, eta, weight = 0.3, 0.7, 2.0
    loss = AIHF(beta=beta, demonstration_weight=eta * beta * weight, preference_weight=weight)
    torch.testing.assert_close(loss(PAIRS) + loss(CHOSEN), weight * RPO(beta=beta, eta=eta)(PAIRS), rtol=1e-12, atol=0)


def test_weighing_nothing_is_refused():
    with pytest.raises(SettingsError, match="both 0: nothing would be learnt"):
        AIHF(demonstration_weight=0, preference_weight=0)


@pytest.mark.parametrize("other", ["dpo", "sft", "exo_rw", "kto"])
def test_sum_with_a_method_of_one_kind_of_rows_is_refused(other):
    with pytest.raises(SettingsError, match=r"AIHF learns from single answers and from pairs|no row serves all parts"):
        recipe(f"aihf + {other}")


def test_sum_with_itself_keeps_both_kinds_of_rows():
    objective = recipe("aihf + 0.5*aihf").objective
    assert (objective.candidates, objective.demonstrations) == ((1, 2), True)
    torch.testing.assert_close(objective(CHOSEN), 1.5 * AIHF()(CHOSEN))
