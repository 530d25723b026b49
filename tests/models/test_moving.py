"""A reference that moves is where the recursion of its weights puts it, of a model as of an adapter."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

from tests.tiny import rows_of, tiny_model
from truenorth.data.packing import pack
from truenorth.errors import ModelError
from truenorth.models.load import with_lora
from truenorth.models.moving import Follower, FollowingAdapter, pairs_of, size_of_follower
from truenorth.models.policy import Policy, Precision
from truenorth.models.references import Moving
from truenorth.models.scored_references import Start, follow

BATCH = pack(rows_of([(6, (5, 3)), (4, (7, 2))]))
LAYERS = {"llama": "all-linear", "gpt2": "all-linear", "gemma2": ["embed_tokens", "q_proj"], "bloom": "all-linear"}


def following(model: torch.nn.Module, precision: Precision = "float32", **settings: float) -> tuple[Policy, Follower]:
    policy = Policy.of(model, precision)
    followers = follow({"initial": Moving(**settings)}, Start(policy, "unused", Path("unused"), budget=100))
    return policy, followers["initial"]


def adapted(architecture: str, *, rank: int = 2) -> torch.nn.Module:
    return with_lora(tiny_model(architecture), rank=rank, alpha=4, targets=LAYERS[architecture], dropout=0.0)


@torch.no_grad()
def step(model: torch.nn.Module, seed: int) -> None:
    """Change all that is trained."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))


def log_probs(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return policy.log_probs(BATCH).total


@pytest.mark.parametrize(("every", "moves"), [(1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (4, [4]), (7, [])])
def test_it_moves_every_so_many_steps(every: int, moves: list[int]) -> None:
    _, follower = following(tiny_model().requires_grad_(True), every=every, share=1.0)
    seen: list[int] = []
    for number in range(1, 7):
        follower.move = lambda number=number: seen.append(number)
        follower.after_step(number)
    assert seen == moves


@pytest.mark.parametrize("share", [0.6, 0.1, 1e-4, 1.0])
def test_after_n_moves_a_model_is_where_the_closed_form_puts_it(share: float) -> None:
    model = tiny_model().requires_grad_(True)
    policy, follower = following(model, share=share)
    starts = {name: p.detach().double() for name, p in model.named_parameters()}
    rest = {name: torch.zeros_like(p) for name, p in starts.items()}
    n = 5
    for k in range(1, n + 1):
        step(model, k)
        follower.after_step(k)
        for name, p in model.named_parameters():
            rest[name] += share * (1 - share) ** (n - k) * p.detach().double()
    expected = tiny_model()
    with torch.no_grad():
        for name, p in expected.named_parameters():
            p.copy_((1 - share) ** n * starts[name] + rest[name])
    found, wanted = follower.log_probs(BATCH).total, log_probs(Policy.of(expected, "float32"))
    assert torch.allclose(found, wanted, rtol=0, atol=2e-4)
    assert torch.allclose(found, log_probs(policy), rtol=0, atol=1e-2) == (share == 1)
    assert not found.requires_grad


@pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings")
@pytest.mark.parametrize("architecture", LAYERS)
@pytest.mark.parametrize("share", [0.6, 0.9, 0.05, 1.0])  # 0.05: more past adapters than the layers are wide
def test_of_an_adapter_it_is_the_mean_of_whole_weights(architecture: str, share: float) -> None:
    model = adapted(architecture)
    _, follower = following(model, share=share)
    merged = {name: torch.zeros(()).double() for name, m in model.named_modules() if isinstance(m, LoraLayer)}
    for k in range(1, 25):
        step(model, k)
        follower.after_step(k)
        for name in merged:  # what the adapter adds to the layer's weights, moved as the weights are
            added = model.get_submodule(name).get_delta_weight("default").detach().double()
            merged[name] = (1 - share) * merged[name] + share * added
    expected = tiny_model(architecture)
    expected.lm_head.weight = torch.nn.Parameter(expected.lm_head.weight.detach().clone())  # no longer tied
    with torch.no_grad():
        for name, added in merged.items():
            weight = expected.get_submodule(name.removeprefix("base_model.model.")).weight
            weight.copy_(weight.double() + added)
    ours, theirs = follower.log_probs(BATCH).total, log_probs(Policy.of(expected, "float32"))
    far = (theirs - log_probs(Policy.of(tiny_model(architecture), "float32"))).abs().max()
    assert far > 1
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-4 * max(1.0, float(far)))


def test_the_mean_of_both_halves_of_an_adapter_would_be_another_reference() -> None:
    model = adapted("llama")
    policy, follower = following(model, share=0.5)
    halves = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    for k in range(1, 4):
        step(model, k)
        follower.after_step(k)
        halves = {name: torch.lerp(half, model.get_parameter(name).detach(), 0.5) for name, half in halves.items()}
    right = follower.log_probs(BATCH).total
    with torch.no_grad():
        for name, half in halves.items():
            model.get_parameter(name).copy_(half)
    assert (right - log_probs(policy)).abs().max() > 0.1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("lora", [False, True])
def test_at_a_share_of_one_it_is_the_policy_to_the_bit(lora: bool, precision: Precision) -> None:
    model = adapted("llama") if lora else tiny_model().requires_grad_(True)
    policy, follower = following(model, precision, share=1.0)
    for k in range(1, 4):
        step(model, k)
        with torch.no_grad():
            now = policy.log_probs(BATCH).total
        assert not torch.equal(follower.log_probs(BATCH).total, now)
        follower.after_step(k)
        assert torch.equal(follower.log_probs(BATCH).total, now)


@pytest.mark.parametrize("lora", [False, True])
def test_a_move_far_below_bfloat16_is_not_lost_in_bfloat16(lora: bool) -> None:
    model = adapted("llama") if lora else tiny_model().requires_grad_(True)
    _, follower = following(model, "bfloat16", share=1e-4)
    before = {name: tensor.clone() for name, tensor in follower.tensors().items()}
    step(model, 1)
    follower.after_step(1)
    for name, tensor in follower.tensors().items():
        assert tensor.dtype == torch.float32
        if lora:
            continue
        moved = model.get_parameter(name).detach() - before[name]
        assert torch.allclose(tensor - before[name], 1e-4 * moved, rtol=0.02, atol=1e-7)


def test_scoring_leaves_the_policy_as_it_was() -> None:
    model = adapted("llama")
    policy, follower = following(model)
    step(model, 1)
    follower.after_step(1)
    step(model, 2)
    parameters, numbers = dict(model.named_parameters()), log_probs(policy)
    follower.log_probs(BATCH)
    assert all(p is parameters[name] for name, p in model.named_parameters())
    assert torch.equal(log_probs(policy), numbers)


def test_an_error_while_scoring_leaves_the_policy_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted("llama")
    _, follower = following(model)
    parameters = dict(model.named_parameters())
    monkeypatch.setattr(Policy, "log_probs", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        follower.log_probs(BATCH)
    assert all(p is parameters[name] for name, p in model.named_parameters())


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("share", [0.6, 0.05, 1.0])
def test_its_memory_is_what_was_announced(share: float, lora: bool) -> None:
    for precision in ("float32", "bfloat16"):
        model = adapted("llama") if lora else tiny_model().requires_grad_(True)
        announced = size_of_follower(model, Moving(share=share), half=precision == "bfloat16")
        _, follower = following(model, precision, share=share)
        for k in range(1, 40):
            step(model, k)
            follower.after_step(k)
        taken = sum(tensor.untyped_storage().nbytes() for tensor in follower.tensors().values())
        assert taken == announced


def test_weights_put_back_go_on_as_if_nothing_had_been() -> None:
    model = adapted("llama")
    policy, whole = following(model)
    for k in range(1, 4):
        step(model, k)
        whole.after_step(k)
    again = FollowingAdapter(policy, Moving())
    again.put({name: tensor.clone() for name, tensor in whole.tensors().items()})
    step(model, 4)
    for follower in (whole, again):
        follower.after_step(4)
    assert torch.equal(whole.log_probs(BATCH).total, again.log_probs(BATCH).total)


@pytest.mark.parametrize("odd", [{"use_dora": True}, {"bias": "lora_only"}, {"modules_to_save": ["lm_head"]}])
def test_an_adapter_whose_means_are_no_adapters_is_refused(odd: dict[str, object]) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", **odd)
    model = get_peft_model(tiny_model("llama", attention_bias=True), config)
    with pytest.raises(
        ModelError, match=r"follows plain LoRA layers, and this adapter also trains .*--reference cached"
    ):
        pairs_of(model)
