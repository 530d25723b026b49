"""SLiC by hand, and as RSO's hinge and SFT."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.rso import RSO
from truenorth.methods.sft import SFT
from truenorth.methods.slic import SLiC

log_probs = st.floats(-60, -0.1)


def test_slic_by_hand():
    # max(0, 1 + 4 - 4.5) + 0.2 * 4
    assert SLiC(delta=1, sft_weight=0.2)(scored([[-4, -4.5]])).item() == pytest.approx(0.5 + 0.8, rel=1e-12)


@given(log_probs, log_probs, st.floats(0.1, 5))
def test_slic_without_sft_is_the_hinge_of_rso_against_a_uniform_reference(chosen, rejected, delta):
    candidates = scored([[chosen, rejected]])  # reference log-probs are 0
    rso = delta * RSO(beta=1 / delta)(candidates).item()
    assert SLiC(delta=delta, sft_weight=0)(candidates).item() == pytest.approx(rso, rel=1e-9, abs=1e-9)


@given(log_probs)
def test_slic_of_a_pair_that_is_won_is_sft_of_the_chosen(chosen):
    won, alone = scored([[chosen, chosen - 3]]), scored([[chosen]])
    assert SLiC(sft_weight=1)(won).item() == pytest.approx(SFT()(alone).item(), rel=1e-12)


def test_slic_pulls_lost_pairs_alike_however_far():
    total = torch.tensor([[-5.0, 0], [-500.0, 0]], dtype=torch.float64, requires_grad=True)
    SLiC(sft_weight=0)(scored(total)).sum().backward()
    torch.testing.assert_close(total.grad, torch.tensor([[-1, 1], [-1, 1]], dtype=torch.float64))
