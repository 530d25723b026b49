"""Adaptive preference scaling by hand, as DPO, and its closed form against a search over temperatures."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import softplus

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods.aps import APS
from truenorth.methods.dpo import DPO

log_ratios, taus = st.floats(-12, 12), st.floats(0.05, 5)


def test_aps_by_hand():
    # c = log 3: sigmoid(c) = 3/4, so rho = log 2 + 3/4 log 3/4 + 1/4 log 1/4, and a margin of 2 c has tau = 2:
    # 2 log(1 + 1/3) + (rho - log 2) * 2
    rho = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    loss = APS(beta=0.5, rho=rho)(scored([[4 * math.log(3), 0]]))
    assert loss.item() == pytest.approx(2 * math.log(4 / 3) + (rho - math.log(2)) * 2, rel=1e-12)


@given(log_ratios, st.floats(0.01, 2))
def test_aps_with_one_temperature_is_dpo_up_to_a_constant(log_ratio, rho):
    candidates = scored([[log_ratio, 0]])
    aps = APS(beta=0.3, rho=rho, tau_min=1.0, tau_max=1.0)
    assert aps(candidates).item() == pytest.approx(DPO(beta=0.3)(candidates).item() + rho - math.log(2), abs=1e-10)


@given(log_ratios, taus)
def test_aps_with_a_fixed_temperature_is_dpo_with_another_beta(log_ratio, tau):
    candidates = scored([[log_ratio, 0]])
    aps = APS(beta=0.3, rho=math.log(2), tau_min=tau, tau_max=tau)
    assert aps(candidates).item() == pytest.approx(tau * DPO(beta=0.3 / tau)(candidates).item(), rel=1e-9)


@given(st.floats(-60, 60), st.floats(0.02, 0.65))
def test_no_other_temperature_gives_less(log_ratio, rho):
    aps = APS(beta=0.3, rho=rho)
    tau = torch.linspace(aps.tau_min, aps.tau_max, 4001, dtype=torch.float64)
    searched = (tau * softplus(-0.3 * log_ratio / tau) + (rho - math.log(2)) * tau).min().item()
    assert aps(scored([[log_ratio, 0]])).item() == pytest.approx(searched, abs=1e-6)  # the search's own grid
    assert aps(scored([[log_ratio, 0]])).item() <= searched + 1e-12


@given(log_ratios)
def test_a_temperature_that_costs_log_two_stays_at_its_lowest(log_ratio):
    candidates = scored([[log_ratio, 0]])
    fixed = APS(rho=math.log(2), tau_min=0.1, tau_max=0.1)
    assert APS(rho=math.log(2))(candidates).item() == pytest.approx(fixed(candidates).item(), rel=1e-12)


def test_margins_of_middling_size_all_pull_alike():
    total = torch.tensor([[2.0, 0], [3.0, 0], [4.0, 0]], dtype=torch.float64, requires_grad=True)
    APS(beta=1.0)(scored(total)).sum().backward()
    assert total.grad is not None
    torch.testing.assert_close(total.grad[:, 0], total.grad[:1, 0].expand(3))


def test_aps_refuses_bounds_the_wrong_way_round():
    with pytest.raises(SettingsError, match=r"tau_min must not exceed its tau_max, got 2\.0 and 1\.0"):
        APS(tau_min=2.0, tau_max=1.0)
