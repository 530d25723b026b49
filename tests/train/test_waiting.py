"""A step reads what the device computes once. A fake tensor has no contents at all: every other reading raises."""

from collections.abc import Generator, Sequence
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily

import truenorth.train.step as step
from tests.tiny import rows_of, tiny_model
from truenorth.data.packing import PackedBatch, pack
from truenorth.methods.dpo import DPO
from truenorth.methods.exo import EXO
from truenorth.methods.sdpo import SDPO
from truenorth.models.attention import PackedMask, visible
from truenorth.models.load import with_lora
from truenorth.models.logprobs import Model
from truenorth.models.policy import Policy
from truenorth.optim.update import AdamW
from truenorth.recipe import Objective
from truenorth.train.metrics import Metrics, to_host
from truenorth.train.step import Player, Scores, train_step

PAIRS = [(6, (5, 3)), (4, (7, 1)), (9, (4, 4))]
FOUR = [(6, (5, 3, 1, 2)), (4, (7, 2, 4, 4))]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Generator[FakeTensorMode]:
    """Makes tensors without contents; masks that were made of such are forgotten afterwards."""
    monkeypatch.setattr(step, "_total_weight", lambda batches: sum(batch.prompts for batch in batches))  # on the host
    monkeypatch.setattr(
        PackedMask, "of", staticmethod(unset_fake_temporarily()(PackedMask.of))
    )  # a subclass of its own
    yield FakeTensorMode(allow_non_fake_inputs=True)  # masks made before
    visible.cache_clear()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each time that a step fetches its numbers; they are zeros then."""
    asked: list[int] = []

    def zeros(shape: Sequence[int]) -> Tensor:
        with unset_fake_temporarily():
            return torch.zeros(tuple(shape))

    def fetch(metrics: Sequence[Metrics], tensors: Sequence[Tensor]) -> list[Tensor]:
        asked.append(1)
        for metric in metrics:
            metric.sums = {name: zeros(()) for name in metric.sums}
            metric.grad_norm = zeros(())
        return [zeros(tensor.shape) for tensor in tensors]

    monkeypatch.setattr(step, "to_host", fetch)
    monkeypatch.setattr(step, "_refuse_not_finite", lambda *_: None)  # looks at what is on the host then
    return asked


def without_contents(model: Model, fake: FakeTensorMode) -> Policy:
    """A policy that was probed while its numbers could be read."""
    policy = Policy.of(model, "bfloat16")
    seen: dict[int, nn.Parameter] = {}  # tied ones stay one
    for module in policy.model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            new = nn.Parameter(fake.from_tensor(parameter.detach()), requires_grad=parameter.requires_grad)
            setattr(module, name, seen.setdefault(id(parameter), new))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, fake.from_tensor(buffer))
    return policy


def player_of(policy: Policy, objective: Objective) -> Player:
    named = {name: p for name, p in policy.model.named_parameters() if p.requires_grad}
    return Player(policy.log_probs, objective, torch.optim.SGD(named.values()), named, max_grad_norm=1.0)


def batches_of(shapes: Sequence[tuple[int, Sequence[int]]], fake: FakeTensorMode | None = None) -> list[PackedBatch]:
    rows = rows_of(shapes, scores=True)
    batches = [pack(rows[:1], [0]), pack(rows[1:], list(range(1, len(rows))))]
    if fake is None:
        return batches
    tensors = [{f.name: getattr(batch, f.name) for f in fields(batch)} for batch in batches]
    moved = [{name: fake.from_tensor(x) for name, x in found.items() if isinstance(x, Tensor)} for found in tensors]
    return [replace(batch, **found) for batch, found in zip(batches, moved, strict=True)]


def reference_of(fake: FakeTensorMode) -> Scores:
    return torch.no_grad()(without_contents(tiny_model("llama", seed=1), fake).log_probs)


@pytest.mark.parametrize(
    ("objective", "shapes"), [(DPO(), PAIRS), (EXO(), PAIRS), (SDPO(), FOUR)], ids=["dpo", "exo", "sdpo"]
)
@pytest.mark.parametrize("lora", [False, True])
def test_a_step_and_its_log_line_wait_once(
    objective: Objective,
    shapes: list[tuple[int, Sequence[int]]],
    lora: bool,
    fake: FakeTensorMode,
    waits: list[int],
) -> None:
    model: Model = tiny_model("llama").requires_grad_(True)
    if lora:
        model = with_lora(tiny_model("llama"), rank=2, alpha=4.0, targets="all-linear", dropout=0.0)
    player, reference = player_of(without_contents(model, fake), objective), reference_of(fake)
    batches = batches_of(shapes, fake)
    with fake:
        metrics = train_step([player], batches, {"initial": reference})
    assert metrics[0].means()["grad_norm"] == 0.0
    assert len(waits) == 1


def test_an_objective_that_looks_at_its_loss_would_be_caught(fake: FakeTensorMode, waits: list[int]) -> None:
    class Curious(DPO):
        """Waits for the device."""

        def __call__(self, candidates: step.Candidates) -> Tensor:
            losses = super().__call__(candidates)
            return losses if float(losses.sum()) > 0 else -losses

    player = player_of(without_contents(tiny_model("llama").requires_grad_(True), fake), Curious())
    batches, reference = batches_of(PAIRS, fake), reference_of(fake)
    with pytest.raises(DataDependentOutputException), fake:
        train_step([player], batches, {"initial": reference})
    assert not waits


def test_one_copy_brings_every_number_to_its_place() -> None:
    first, second, none = Metrics(), Metrics(), Metrics()
    first.sums = {"loss": torch.tensor(1.0), "margin": torch.tensor(2.0)}
    first.grad_norm = torch.tensor(3.0)
    second.sums, second.grad_norm = {"loss": torch.tensor(4.0)}, torch.tensor(5.0)
    losses = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]])]
    fetched = to_host([first, none, second], losses)
    assert [one.tolist() for one in fetched] == [[[1.0, 2.0]], [[3.0], [4.0]]]
    assert {name: float(value) for name, value in first.sums.items()} == {"loss": 1.0, "margin": 2.0}
    assert (float(first.grad_norm), none.grad_norm, float(second.grad_norm)) == (3.0, None, 5.0)
    assert float(second.sums["loss"]) == 4.0


@pytest.mark.gpu
def test_a_gpu_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def fetch(metrics: Sequence[Metrics], tensors: Sequence[Tensor]) -> list[Tensor]:
        asked.append(1)
        torch.cuda.set_sync_debug_mode("default")
        fetched = to_host(metrics, tensors)
        torch.cuda.set_sync_debug_mode("error")
        return fetched

    policy = Policy.of(tiny_model("llama").requires_grad_(True).cuda(), "bfloat16")
    named = dict(policy.model.named_parameters())
    player = Player(policy.log_probs, DPO(), AdamW().build(named.values()), named, max_grad_norm=1.0)
    reference = torch.no_grad()(Policy.of(tiny_model("llama", seed=1).cuda(), "bfloat16").log_probs)
    train_step([player], batches_of(PAIRS), {"initial": reference})  # kernels are loaded, optimizer states made
    monkeypatch.setattr(step, "to_host", fetch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        train_step([player], batches_of(PAIRS), {"initial": reference})[0].means()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(asked) == 1
