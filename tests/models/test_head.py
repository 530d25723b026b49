import pytest
import torch

from truenorth.models import head as head_module
from truenorth.models.head import Head


def whole(module: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor, head: Head) -> torch.Tensor:
    logits = module(hidden) * head.scale
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    return logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]


@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.25, None), (1.0, 3.0)])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_give_the_whole_heads_values_and_gradients(
    scale: float, softcap: float | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(5, 11)
    hidden, targets = torch.randn(7, 5, requires_grad=True), torch.randint(0, 11, (7,))
    head = Head(module, 11, scale, softcap)
    weights = torch.randn(7)
    parameters = [hidden, *module.parameters()]
    expected = whole(module, hidden, targets, head)
    gradients = torch.autograd.grad(expected @ weights, parameters)
    monkeypatch.setattr(head_module, "LOGITS_AT_ONCE", 11 * chunk)
    got = head.token_log_probs(hidden, targets)
    assert torch.allclose(got, expected, rtol=0, atol=1e-6)
    for ours, theirs in zip(torch.autograd.grad(got @ weights, parameters), gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_log_probs_are_float32_when_the_head_is_bfloat16() -> None:
    module = torch.nn.Linear(5, 11).bfloat16()
    got = Head(module, 11).token_log_probs(torch.randn(2, 5).bfloat16(), torch.tensor([0, 1]))
    assert got.dtype == torch.float32
