"""LD-DPO by hand, and as DPO on all, or on the first, of each response."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.drawn import drawn
from truenorth.methods.dpo import DPO
from truenorth.methods.ld_dpo import LDDPO, desensitized
from truenorth.types import Candidates, LogProbs

nats = st.floats(-8, -0.01)
responses = st.lists(nats, min_size=1, max_size=6)


def log_probs(pair):
    """Of one prompt with the tokens' nats of each response."""
    tokens = torch.tensor([n for response in pair for n in response], dtype=torch.float64)
    totals = torch.tensor([[sum(response) for response in pair]], dtype=torch.float64)
    return LogProbs(totals, torch.tensor([[len(response) for response in pair]]), tokens)


def candidates(policy, reference):
    return Candidates(log_probs(policy), {"initial": log_probs(reference)})


def test_ld_dpo_by_hand():
    # past 2 tokens half counts: policy -1 - 2 - 0.5 * 4 = -5, reference -1 - 1 - 0.5 * 2 = -3, so r = -2 and 0.5
    pair = candidates([[-1, -2, -4], [-1, -1]], [[-1, -1, -2], [-2, -0.5]])
    assert LDDPO(beta=0.4, alpha=0.5)(pair).item() == pytest.approx(math.log(1 + math.exp(1.0)), rel=1e-12)


@given(responses, responses, st.floats(0, 1))
def test_first_tokens_count_whole_and_those_past_the_shorter_length_count_alpha(chosen, rejected, alpha):
    shared = min(len(chosen), len(rejected))
    expected = [sum(response[:shared]) + alpha * sum(response[shared:]) for response in (chosen, rejected)]
    assert desensitized(log_probs([chosen, rejected]), alpha)[0].tolist() == pytest.approx(expected, rel=1e-12)


@given(st.integers(0, 2**31))
def test_ld_dpo_with_alpha_one_is_dpo(seed):
    pairs = drawn(DPO(), seed, prompts=5)
    torch.testing.assert_close(LDDPO(alpha=1.0)(pairs), DPO()(pairs), rtol=1e-12, atol=0)


@given(responses, responses)
def test_ld_dpo_with_alpha_zero_is_dpo_on_answers_cut_to_the_shorter_length(chosen, rejected):
    shared = min(len(chosen), len(rejected))
    whole = candidates([chosen, rejected], [[n / 2 for n in chosen], [n / 3 for n in rejected]])
    chosen, rejected = chosen[:shared], rejected[:shared]
    cut = candidates([chosen, rejected], [[n / 2 for n in chosen], [n / 3 for n in rejected]])
    assert LDDPO(alpha=0.0)(whole).item() == pytest.approx(DPO()(cut).item(), rel=1e-10)


@given(st.lists(st.tuples(nats, nats), min_size=1, max_size=6), st.floats(0, 1))
def test_ld_dpo_of_responses_of_one_length_is_dpo(pair, alpha):
    chosen, rejected = map(list, zip(*pair, strict=True))
    alike = candidates([chosen, rejected], [rejected, chosen])
    assert LDDPO(alpha=alpha)(alike).item() == pytest.approx(DPO()(alike).item(), rel=1e-10)


def test_only_the_longer_response_loses_weight():
    pair = candidates([[-1, -1, -1], [-1]], [[-1, -1, -1], [-1]])
    tokens = pair.policy.tokens.requires_grad_()
    LDDPO(beta=1.0, alpha=0.25)(pair).sum().backward()
    torch.testing.assert_close(tokens.grad, torch.tensor([-0.5, -0.125, -0.125, 0.5], dtype=torch.float64))
