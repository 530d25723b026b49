"""RPO by hand, and as DPO and SFT."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.rpo import RPO, RPOAverage
from truenorth.methods.sft import SFT

log_probs = st.floats(-60, -0.1)


def test_rpo_by_hand():
    # margin 0.75, and 0.1 * 0.5 of the chosen response's 4 nats
    loss = RPO(beta=0.5, eta=0.1)(scored([[-4, -6]], [[-5, -5.5]], length=[[2, 1]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.75)) + 0.1 * 0.5 * 4, rel=1e-12)


def test_rpo_with_likelihood_per_token_by_hand():
    loss = RPOAverage(beta=0.5, eta=0.1)(scored([[-4, -6]], [[-5, -5.5]], length=[[2, 1]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.75)) + 0.1 * 2, rel=1e-12)


@pytest.mark.parametrize("objective", [RPO(beta=0.3, eta=0), RPOAverage(beta=0.3, eta=0)])
@given(log_probs, log_probs)
def test_rpo_without_its_likelihood_is_dpo(objective, chosen, rejected):
    candidates = scored([[chosen, rejected]], length=[[3, 5]])
    assert objective(candidates).item() == pytest.approx(DPO(beta=0.3)(candidates).item(), rel=1e-10)


@given(log_probs, log_probs)
def test_rpo_of_responses_of_one_token_is_the_same_in_both_forms(chosen, rejected):
    candidates = scored([[chosen, rejected]])
    whole, average = RPO(beta=0.5, eta=0.4), RPOAverage(beta=0.5, eta=0.2)
    assert whole(candidates).item() == pytest.approx(average(candidates).item(), rel=1e-10)


@given(log_probs, log_probs)
def test_rpo_with_ever_more_likelihood_goes_to_sft_on_the_chosen(chosen, rejected):
    candidates, alone = scored([[chosen, rejected]], length=[[3, 5]]), scored([[chosen]], length=[[3]])
    loss = RPOAverage(eta=1e12)(candidates).item() / 1e12
    assert loss == pytest.approx(SFT()(alone).item(), rel=1e-9)


def test_rpo_pulls_the_chosen_up_where_dpo_rests():
    total = torch.tensor([[4000.0, 0]], dtype=torch.float64, requires_grad=True)  # a pair that is won
    RPO(beta=0.5, eta=0.1)(scored(total)).sum().backward()
    torch.testing.assert_close(total.grad, torch.tensor([[-0.05, 0]], dtype=torch.float64))
