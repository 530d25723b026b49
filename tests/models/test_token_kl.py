"""KL of next-token distributions between two models: that of whole logits, in chunks, with the policy's gradient."""

import pytest
import torch
from torch.nn.functional import log_softmax

import truenorth.models.token_kl as module
from tests.tiny import rows_of, tiny_model
from truenorth.data.packing import pack
from truenorth.errors import ModelError
from truenorth.models.load import with_lora
from truenorth.models.logprobs import base_of
from truenorth.models.policy import Policy
from truenorth.models.token_kl import token_kl

ROWS = rows_of([(6, (5, 3)), (4, (7, 1)), (9, (4, 4))])
ASKED = frozenset({"tokens", "logits"})


def dense(policy, reference):
    """[B, K] from one plain forward pass of each model for each response."""
    found = []
    for row in ROWS:
        for response in row.responses:
            tokens = torch.tensor([[*row.prompt.tolist(), *response.tolist()]])
            log_p, log_q = (
                log_softmax(model(tokens).logits[0, len(row.prompt) - 1 : -1].float(), -1)
                for model in (policy, reference)
            )
            found.append((log_p.exp() * (log_p - log_q.detach())).sum())
    return torch.stack(found).view(len(ROWS), 2)


def scored(model, batch):
    return Policy.of(model, "float32").log_probs(batch, ASKED)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "granite", "bloom"])
def test_it_is_that_of_whole_logits_with_the_same_gradient(architecture, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 5)  # several chunks
    batch, other = pack(ROWS), tiny_model(architecture, seed=1)
    ours, plain = (tiny_model(architecture).requires_grad_(True) for _ in range(2))
    with torch.no_grad():
        reference = scored(other, batch)
    found = token_kl(scored(ours, batch), reference, batch)
    expected = dense(plain, tiny_model(architecture, seed=1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    (found * torch.arange(1.0, 7.0).view(3, 2)).sum().backward()
    (expected * torch.arange(1.0, 7.0).view(3, 2)).sum().backward()
    for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-3, msg=name)
    assert all(p.grad is None for p in other.parameters())


def test_a_model_is_nothing_away_from_itself():
    batch, model = pack(ROWS), tiny_model("llama")
    found = scored(model, batch)
    assert token_kl(found, found, batch).abs().max() < 1e-6


def test_chunks_change_nothing(monkeypatch):
    batch, models = pack(ROWS), (tiny_model("llama"), tiny_model("llama", seed=1))
    ours, theirs = (scored(model, batch) for model in models)
    whole = token_kl(ours, theirs, batch)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)
    torch.testing.assert_close(token_kl(ours, theirs, batch), whole, rtol=1e-6, atol=1e-6)


def test_a_head_with_an_adapter_is_refused():
    model = with_lora(tiny_model("llama"), rank=2, alpha=4, targets=["lm_head", "q_proj"], dropout=0.0)
    policy = Policy.of(model, "float32")
    assert base_of(model) is not None
    with pytest.raises(ModelError, match="its LM head carries an adapter"):
        policy.log_probs(pack(ROWS), ASKED)
