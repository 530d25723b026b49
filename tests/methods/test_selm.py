"""SELM, XPO and SPAC by hand, and how they reduce to DPO and to each other."""

import math

import pytest
import torch

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods import recipe
from truenorth.methods.dpo import DPO
from truenorth.methods.selm import SELM
from truenorth.methods.spac import SPAC
from truenorth.methods.weighted_sum import WeightedSum
from truenorth.methods.xpo import XPO
from truenorth.schedule import Rounds

PAIRS = scored([[-6.0, -5.0], [-8.0, -9.5]], [[-6.5, -4.0], [-7.0, -9.0]])


def with_sample(policy, reference, of="round"):
    """The pairs, against a reference named `of`, and one further answer to each."""
    pair = torch.cat([PAIRS.policy.total, torch.tensor(policy, dtype=torch.float64)], dim=1)
    base = torch.cat([PAIRS.references["initial"].total, torch.tensor(reference, dtype=torch.float64)], dim=1)
    whole = scored(pair, base)
    return type(whole)(whole.policy, {of: whole.references["initial"]}).with_sample(2)


def test_values_by_hand():
    # log-ratios 0.5 and -1: margin 1.5 beta; of the sample -3 + 5 = 2
    pair, sample = math.log1p(math.exp(-0.15)), 0.1 * 2
    found = with_sample([[-3.0], [-1.0]], [[-5.0], [-1.0]])
    assert SELM(beta=0.1, alpha=0.5)(found)[0].item() == pytest.approx(pair + 0.5 * sample)
    assert SPAC(beta=0.1, penalty=0.5)(found)[0].item() == pytest.approx(pair + 0.5 * math.log1p(math.exp(sample)))
    initial = with_sample([[-3.0], [-1.0]], [[-5.0], [-1.0]], of="initial")
    assert XPO(beta=0.1, alpha=0.5)(initial)[0].item() == pytest.approx(pair + 0.5 * 2)


@pytest.mark.parametrize("loss", [SELM(beta=0.3, alpha=0), SPAC(beta=0.3, penalty=0), XPO(beta=0.3, alpha=0)])
def test_without_its_weight_it_is_dpo_to_the_bit(loss):
    found = with_sample([[-3.0], [-1.0]], [[-5.0], [-1.5]], of=loss.references[0])
    assert torch.equal(loss(found), DPO(beta=0.3)(PAIRS))


def test_spac_with_linear_psi_is_selm():
    found = with_sample([[-3.0], [-1.0]], [[-5.0], [-1.5]])
    ours, theirs = SPAC(beta=0.3, penalty=0.2, psi="linear")(found), SELM(beta=0.3, alpha=0.2)(found)
    torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=0)


def test_xpo_is_selm_with_its_weight_times_beta():
    pair = ([[-3.0], [-1.0]], [[-5.0], [-1.5]])
    ours = XPO(beta=0.5, alpha=0.5 * 0.2)(with_sample(*pair, of="initial"))
    torch.testing.assert_close(ours, SELM(beta=0.5, alpha=0.2)(with_sample(*pair)), rtol=1e-14, atol=0)


def test_held_out_pairs_have_no_sample_and_the_loss_of_dpo():
    for loss in (SELM(beta=0.3), SPAC(beta=0.3)):
        held_out = type(PAIRS)(PAIRS.policy, {"round": PAIRS.references["initial"]})
        assert torch.equal(loss(held_out), DPO(beta=0.3)(PAIRS))


def test_softplus_lets_go_of_an_answer_that_is_rare_already():
    def pull(gained, psi):
        total = torch.tensor([[-6.0, -5.0, gained]], dtype=torch.float64, requires_grad=True)
        whole = scored(total, [[-6.0, -5.0, 0.0]])
        found = type(whole)(whole.policy, {"round": whole.references["initial"]}).with_sample(2)
        SPAC(penalty=1.0, beta=0.1, psi=psi)(found).sum().backward()
        return total.grad[0, 2].item()

    assert pull(-200.0, "linear") == pytest.approx(0.1)
    assert 0 < pull(-200.0, "softplus") < 1e-8
    assert pull(0.0, "softplus") == pytest.approx(0.05)


def test_what_is_drawn_beside_a_pair_needs_rounds_that_draw_it():
    for name in ("selm", "xpo", "spac", "sail"):
        with pytest.raises(
            SettingsError, match=r"learns from answers that are drawn in rounds\. Give the recipe a `schedule`"
        ):
            recipe(name).replace(schedule=None)


@pytest.mark.parametrize(
    ("name", "schedule", "said"),
    [
        ("spac", Rounds(k=1), "SPAC reads an answer of the policy beside a pair of the data"),
        ("online_dpo", Rounds(compared="rows"), "OnlineDPO reads none of them"),
        ("xpo", Rounds(k=1, compared="both"), "XPO plays against an opponent"),
        ("sail", Rounds(k=2), "SAIL mixes the pairs of --data with pairs that are drawn"),
        ("rloo", Rounds(compared="rows"), "RLOO reads none of them"),
    ],
)
def test_rounds_that_draw_for_nobody_are_refused(name, schedule, said):
    with pytest.raises(SettingsError, match=said):
        recipe(name).replace(schedule=schedule)


def test_several_answers_of_the_likeliest_tokens_are_refused():
    with pytest.raises(SettingsError, match="all 2 answers to a prompt would be the same one"):
        Rounds(temperature=0.0)


def test_parts_of_a_sum_share_what_is_drawn_or_are_refused():
    whole = recipe("spac + 0.2*sft_chosen_sum")
    assert (whole.objective.sample, whole.schedule) == ("policy", recipe("spac").schedule)
    for name in ("filtered_dpo", "upo", "nash_md"):  # what a part wants of a round, the sum wants too
        alone, whole = (recipe(of).objective for of in (name, f"{name} + {name}"))
        assert (whole.selection, whole.opponent) == (alone.selection, alone.opponent) != (None, None)
    with pytest.raises(SettingsError, match=r"the parts SPAC, XPO of the sum want different answers"):
        WeightedSum(parts=((1.0, SPAC()), (1.0, XPO())))
