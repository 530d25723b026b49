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
@pytest.mark.parametrize("kept", [0, 10**6])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("hooked", [False, True])
def test_chunks_give_the_whole_heads_values_and_gradients(
    scale: float,
    softcap: float | None,
    chunk: int,
    kept: int,
    frozen: bool,
    hooked: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(5, 11).requires_grad_(not frozen)
    if hooked:  # then it is called as a module, as a head with an adapter is
        module.register_forward_hook(lambda *_: None)
    hidden, targets = torch.randn(7, 5, requires_grad=True), torch.randint(0, 11, (7,))
    head = Head(module, 11, scale, softcap)
    weights = torch.randn(7)
    parameters = [hidden, *(p for p in module.parameters() if p.requires_grad)]
    expected = whole(module, hidden, targets, head)
    gradients = torch.autograd.grad(expected @ weights, parameters)
    monkeypatch.setattr(head_module, "LOGITS_AT_ONCE", 11 * chunk)
    monkeypatch.setattr(head_module, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(head_module, "ERRORS_KEPT", kept)
    got = head.token_log_probs(hidden, targets)
    assert torch.allclose(got, expected, rtol=0, atol=1e-6)
    for ours, theirs in zip(torch.autograd.grad(got @ weights, parameters), gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_log_probs_are_float32_when_the_head_is_bfloat16() -> None:
    module = torch.nn.Linear(5, 11).bfloat16()
    got = Head(module, 11).token_log_probs(torch.randn(2, 5).bfloat16(), torch.tensor([0, 1]))
    assert got.dtype == torch.float32


def test_log_probs_are_the_same_to_the_bit_with_and_without_gradients() -> None:
    torch.manual_seed(0)
    head = Head(torch.nn.Linear(16, 101), 101)
    hidden, targets = torch.randn(30, 16), torch.randint(0, 101, (30,))
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            trained = head.token_log_probs(hidden.clone().requires_grad_(), targets)
            with torch.no_grad():
                scored = head.token_log_probs(hidden, targets)
        assert torch.equal(trained, scored)


def test_nothing_is_kept_for_a_backward_pass_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    log_probs = head_module.After.log_probs

    def spied(self: object, products: torch.Tensor, targets: torch.Tensor, *, errors: bool) -> object:
        kept.append(errors)
        return log_probs(self, products, targets, errors=errors)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(head_module.After, "log_probs", spied)
    with torch.no_grad():
        Head(torch.nn.Linear(5, 11), 11).token_log_probs(torch.randn(3, 5), torch.tensor([0, 1, 2]))
    assert kept == [False]
