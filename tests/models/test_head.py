import math

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
    scores = head_module.After.scores

    def spied(self: object, products: torch.Tensor, targets: torch.Tensor, *, errors: bool) -> object:
        kept.append(errors)
        return scores(self, products, targets, errors=errors)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(head_module.After, "scores", spied)
    with torch.no_grad():
        Head(torch.nn.Linear(5, 11), 11).token_log_probs(torch.randn(3, 5), torch.tensor([0, 1, 2]))
    assert kept == [False]


def measured(module: torch.nn.Module, hidden: torch.Tensor, head: Head) -> list[torch.Tensor]:
    """Entropy as a share of log V, and collision in nats, from all probabilities in float64."""
    logits = module(hidden).double() * head.scale
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    p = logits.softmax(-1)
    return [-(p * p.log()).sum(-1) / math.log(p.shape[-1]), -p.square().sum(-1).log()]


@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.25, None), (1.0, 3.0)])
@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("kept", [0, 10**6])
def test_measures_in_chunks_are_those_of_all_probabilities(
    scale: float, softcap: float | None, chunk: int, hooked: bool, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(5, 11)
    if hooked:
        module.register_forward_hook(lambda *_: None)
    hidden, targets = 3 * torch.randn(7, 5), torch.randint(0, 11, (7,))
    head = Head(module, 11, scale, softcap)
    monkeypatch.setattr(head_module, "LOGITS_AT_ONCE", 11 * chunk)
    monkeypatch.setattr(head_module, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(head_module, "ERRORS_KEPT", kept)
    with torch.no_grad():
        expected = measured(module, hidden, head)
    for ours, exact in zip(head.token_scores(hidden, targets, ("entropy", "collision"))[1:], expected, strict=True):
        assert not ours.requires_grad
        assert torch.allclose(ours.double(), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("hooked", [False, True])
def test_measures_change_no_bit_of_log_probs_and_gradients(hooked: bool) -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(16, 101)
    if hooked:
        module.register_forward_hook(lambda *_: None)
    hidden, targets = torch.randn(30, 16, requires_grad=True), torch.randint(0, 101, (30,))
    found = []
    for measures in ((), ("collision", "entropy")):
        nats = Head(module, 101).token_scores(hidden, targets, measures)[0]
        found.append([nats, *torch.autograd.grad(nats.sum(), [hidden, *module.parameters()])])
    assert all(map(torch.equal, *found))


def test_a_uniform_distribution_has_all_the_entropy_there_is() -> None:
    module = torch.nn.Linear(4, 50)
    torch.nn.init.zeros_(module.weight)
    torch.nn.init.zeros_(module.bias)
    _, entropy, collision = Head(module, 50).token_scores(
        torch.randn(3, 4), torch.tensor([0, 1, 2]), ("entropy", "collision")
    )
    assert torch.allclose(entropy, torch.ones(3), rtol=0, atol=1e-6)
    assert torch.allclose(collision, torch.full((3,), math.log(50)), rtol=0, atol=1e-6)


def test_a_certain_distribution_has_neither_entropy_nor_chance() -> None:
    module = torch.nn.Linear(1, 50, bias=False)
    module.weight.data = torch.tensor([[1e4]] + [[-1e4]] * 49)
    _, entropy, collision = Head(module, 50).token_scores(
        torch.ones(1, 1), torch.tensor([7]), ("entropy", "collision")
    )
    assert entropy.item() == collision.item() == 0
