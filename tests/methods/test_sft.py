"""SFT by hand."""

import pytest

from tests.scored import scored
from truenorth.methods.sft import SFT


def test_sft_by_hand():
    # 6 nats over 3 tokens, 5 nats over 1
    loss = SFT()(scored([[-6.0], [-5.0]], length=[[3], [1]]))
    assert loss.tolist() == [2.0, 5.0]


def test_sft_of_a_response_said_twice_is_the_same():
    once, twice = scored([[-6.0]], length=[[3]]), scored([[-12.0]], length=[[6]])
    assert SFT()(once).item() == pytest.approx(SFT()(twice).item(), rel=1e-12)


def test_sft_loss_is_minus_its_reward():
    candidates = scored([[-6.0], [-5.0]], length=[[3], [1]])
    assert SFT()(candidates).tolist() == (-SFT().implicit_rewards(candidates)[:, 0]).tolist()
