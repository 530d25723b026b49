"""AIHF with self-play by hand, and its reductions to iterative DPO and to SPIN."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods import recipe
from truenorth.methods.aihf_selfplay import AIHFSelfPlay
from truenorth.methods.dpo import DPO
from truenorth.schedule import Rounds
from truenorth.types import Candidates

POLICY, REFERENCE = [[-6.0, -5.0], [-8.0, -9.5]], [[-6.5, -4.0], [-7.0, -9.0]]
ROWS = scored(POLICY, REFERENCE)


def rows(*demonstration: float) -> Candidates:
    """The rows against the round's policy; 1 says that a row is a demonstration, and a drawn answer behind it."""
    columns = {"demonstration": torch.tensor(demonstration, dtype=torch.float64)} if demonstration else {}
    return replace(ROWS, references={"round": ROWS.references["initial"]}, columns=columns)


def spin(policy: Tensor, previous: Tensor, *, strength: float) -> Tensor:
    """Chen et al. 2024, Eq. 4.7, of a human's answer and one drawn by the policy before, [B, 2] nats each."""
    gained = strength * (policy - previous)
    return torch.log(1 + torch.exp(-(gained[:, 0] - gained[:, 1])))


def test_aihf_selfplay_by_hand():
    # log-ratios 0.5 and -1, margin beta * 1.5; and -1 and -0.5, margin -0.5 beta
    loss = AIHFSelfPlay(beta=0.2, demonstration_weight=0.5, preference_weight=3.0)
    assert loss(rows(0, 1)).tolist() == pytest.approx(
        [3 * math.log1p(math.exp(-0.3)), 0.5 * math.log1p(math.exp(0.1))]
    )


def test_without_demonstrations_it_is_iterative_dpo():
    loss, dpo = AIHFSelfPlay(beta=0.3, demonstration_weight=0), DPO(beta=0.3)(ROWS)
    assert torch.equal(loss(rows(0, 0)), dpo)
    assert torch.equal(loss(rows(1, 0)), dpo * torch.tensor([0, 1]))
    assert recipe("aihf_selfplay").references == recipe("spac").references  # the policy at the round's start


def test_without_pairs_it_is_spin():
    loss = AIHFSelfPlay(beta=0.3, preference_weight=0)
    expected = spin(torch.tensor(POLICY).double(), torch.tensor(REFERENCE).double(), strength=0.3)
    torch.testing.assert_close(loss(rows(1, 1)), expected, rtol=1e-14, atol=0)
    assert loss(rows(0, 0)).tolist() == [0, 0]


def test_where_a_chosen_answer_is_the_demonstration_and_the_rejected_one_was_drawn_the_weights_add_up():
    loss = AIHFSelfPlay(beta=0.3, demonstration_weight=0.5, preference_weight=2.0)
    torch.testing.assert_close(loss(rows(1, 1)) + loss(rows(0, 0)), 2.5 * DPO(beta=0.3)(ROWS), rtol=1e-14, atol=0)


def test_held_out_rows_are_pairs_or_demonstrations_that_stand_alone():
    loss = AIHFSelfPlay(beta=0.3, demonstration_weight=0.5, preference_weight=2.0)
    assert torch.equal(loss(rows()), loss(rows(0, 0)))
    alone = scored([[-6.0]], [[-6.5]])
    found = loss(replace(alone, references={"round": alone.references["initial"]}))
    assert found.item() == pytest.approx(0.5 * math.log1p(math.exp(-0.3 * 0.5)))


def test_gradients_of_both_kinds_agree_with_finite_differences():
    def losses(policy: Tensor) -> Tensor:
        found = rows(0, 1)
        return AIHFSelfPlay(demonstration_weight=0.3)(replace(found, policy=replace(found.policy, total=policy)))

    assert torch.autograd.gradcheck(losses, [torch.tensor(POLICY, dtype=torch.float64, requires_grad=True)])


def test_weighing_nothing_is_refused():
    with pytest.raises(SettingsError, match="both 0: nothing would be learnt"):
        AIHFSelfPlay(demonstration_weight=0, preference_weight=0)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (None, r"learns from answers that are drawn in rounds"),
        (Rounds(compared="rows", k=2), r"one drawn answer beside each demonstration.*got .*--k 2"),
        (Rounds(compared="both", k=1), r"needs schedule\.compared=rows and --k 1, got schedule\.compared=both"),
        (Rounds(), r"needs schedule\.compared=rows and --k 1, got schedule\.compared=drawn"),
    ],
)
def test_rounds_that_draw_otherwise_are_refused(schedule: Rounds | None, said: str):
    with pytest.raises(SettingsError, match=said):
        recipe("aihf_selfplay").replace(schedule=schedule)


def test_rounds_complete_no_demonstrations_of_the_form_without_self_play():
    with pytest.raises(SettingsError, match="AIHF reads none of them"):
        recipe("aihf").replace(schedule=Rounds(compared="rows", k=1))
    with pytest.raises(SettingsError, match="AIHFSelfPlay, AIHF of the sum want different answers drawn in a round"):
        recipe("aihf_selfplay + aihf")


def test_a_sum_with_itself_completes_demonstrations_too():
    whole = recipe("aihf_selfplay + 0.5*aihf_selfplay")
    assert (whole.objective.completes_demonstrations, whole.schedule) == (True, recipe("aihf_selfplay").schedule)
    torch.testing.assert_close(whole.objective(rows(0, 1)), 1.5 * AIHFSelfPlay()(rows(0, 1)))
