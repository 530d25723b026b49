"""Mallows-DPO by hand, as DPO, and its phi form against counted permutations."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods import recipe
from truenorth.methods.dpo import DPO
from truenorth.methods.mallows_dpo import MallowsDPO, MallowsPhiDPO

log_ratios, dispersions = st.floats(-12, 12), st.floats(0.01, 0.99)


def pair(log_ratio, dispersion):
    """Responses of 2 and 3 tokens under a reference whose entropies per token are `dispersion` on average."""
    return scored([[log_ratio, 0]], length=[[2, 3]], entropy=[[2 * 0.8 * dispersion, 3 * 1.2 * dispersion]])


def test_mallows_dpo_by_hand():
    # margin 0.5 * 3 = 1.5, times -2 log(1/e) / 4 = 0.5
    loss = MallowsDPO(beta=0.5, scale=0.5)(pair(3.0, math.exp(-1)))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.75)), rel=1e-12)


@given(log_ratios)
def test_mallows_dpo_at_the_dispersion_of_bradley_and_terry_is_dpo(log_ratio):
    candidates = pair(log_ratio, math.exp(-1 / 2))  # -2 log phi = 1
    assert MallowsDPO(scale=2.0)(candidates).item() == pytest.approx(DPO()(candidates).item(), rel=1e-10)


@given(log_ratios, dispersions)
def test_mallows_dpo_of_one_dispersion_is_dpo_with_another_beta(log_ratio, dispersion):
    candidates = pair(log_ratio, dispersion)
    dpo = DPO(beta=-0.3 * 2 * math.log(dispersion))
    assert MallowsDPO(beta=0.3, scale=2.0)(candidates).item() == pytest.approx(dpo(candidates).item(), rel=1e-10)


@given(log_ratios, dispersions)
def test_mallows_dpo_scaled_by_the_mean_is_dpo_where_all_dispersions_agree(log_ratio, dispersion):
    candidates = pair(log_ratio, dispersion)
    mallows = MallowsDPO(scale=1 / -math.log(dispersion))
    assert mallows(candidates).item() == pytest.approx(DPO()(candidates).item(), rel=1e-10)


@pytest.mark.parametrize("objective", [MallowsDPO, MallowsPhiDPO])
@given(log_ratios, dispersions)
def test_a_dispersion_of_the_data_counts_as_one_of_the_reference(objective, log_ratio, dispersion):
    of_data = scored([[log_ratio, 0]], columns={"dispersion": [dispersion]})
    expected = objective()(pair(log_ratio, dispersion)).item()
    assert objective(dispersion="data")(of_data).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", ["mallows_dpo", "mallows_phi_dpo"])
def test_a_dispersion_of_the_data_is_read_by_choice_only(name):
    objective, chosen = recipe(name).objective, recipe(name, dispersion="data").objective
    assert (objective.reads, objective.columns) == ({"reference_entropy"}, ())
    assert (chosen.reads, chosen.columns) == (frozenset(), ("dispersion",))


def test_agreement_sharpens_the_loss():
    assert MallowsDPO()(pair(5.0, 0.1)).item() < MallowsDPO()(pair(5.0, 0.5)).item()
    assert MallowsDPO()(pair(-5.0, 0.1)).item() > MallowsDPO()(pair(-5.0, 0.5)).item()


@pytest.mark.parametrize("objective", [MallowsDPO(), MallowsPhiDPO()])
@pytest.mark.parametrize("dispersion", [1.0, 1.7])
def test_no_dispersion_turns_a_label_round(objective, dispersion):
    won, lost = objective(pair(5.0, dispersion)).item(), objective(pair(-5.0, dispersion)).item()
    assert won < math.log(2) < lost


@pytest.mark.parametrize("objective", [MallowsDPO(), MallowsPhiDPO()])
def test_no_dispersion_at_all_is_finite(objective):
    assert objective(pair(5.0, 0.0)).item() == objective(pair(5.0, 1e-6)).item() > 0


def chance(distance, phi, *, beta=1.0):
    """What the phi form gives a response that stands `distance` before the other."""
    return math.exp(-MallowsPhiDPO(beta=beta, scale=2.0)(pair(distance / beta, phi)).item())


def test_phi_form_by_hand():
    # phi = 1/2 and m = 2: 3 / (1 - 1/8) - 2 / (1 - 1/4) = 24/7 - 8/3 = 16/21
    assert chance(2, 0.5, beta=0.1) == pytest.approx(16 / 21, rel=1e-6)  # distances are 1e-6 larger, as below


@given(dispersions)
def test_neighbours_in_the_phi_form_differ_by_one_swap(phi):
    assert chance(1, phi) == pytest.approx(1 / (1 + phi), rel=1e-6)


@pytest.mark.parametrize("phi", [0.2, 0.6, 0.95])
def test_phi_form_gives_what_counting_permutations_gives(phi):
    """Five responses, each ranking weighs phi to the number of its swapped pairs."""
    pairs = list(itertools.combinations(range(5), 2))
    rankings = list(itertools.permutations(range(5)))
    weights = [phi ** sum(ranking[i] > ranking[j] for i, j in pairs) for ranking in rankings]
    for i, j in pairs:
        kept = sum(weight for ranking, weight in zip(rankings, weights, strict=True) if ranking[i] < ranking[j])
        assert chance(j - i, phi) == pytest.approx(kept / sum(weights), rel=2e-6)


@given(st.floats(0.001, 30), dispersions)
def test_phi_form_gives_both_orders_a_chance_of_one_together(distance, phi):
    assert chance(distance, phi) + chance(-distance, phi) == pytest.approx(1, rel=1e-12)


@given(st.floats(-2, 2))
def test_phi_form_goes_to_a_coin_where_nobody_agrees(distance):
    assert chance(distance, 0.999) == pytest.approx(0.5, abs=1e-3)


def test_phi_form_pulls_at_the_start():
    candidates = pair(0.0, 0.5)
    candidates.policy.total.requires_grad_()
    MallowsPhiDPO()(candidates).sum().backward()
    assert candidates.policy.total.grad is not None
    assert candidates.policy.total.grad[0, 0] < 0 < candidates.policy.total.grad[0, 1]
