"""Frozen weights in bfloat16 change no number under autocast, and nothing that must stay float32."""

import pytest
import torch
from peft import PeftModel

from tests.tiny import SHARING, rows_of, tiny_model
from truenorth.data.packing import pack
from truenorth.models.load import with_lora
from truenorth.models.logprobs import Model
from truenorth.models.policy import Policy
from truenorth.models.storage import frozen_copy, store_frozen

SHAPES = [(6, (5, 3)), (4, (7, 2))]
QUICK = ["llama", "gpt2", "gemma2", "gpt_oss"]
EVERY = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in SHARING]


def log_probs(model: Model) -> torch.Tensor:
    return Policy.of(model, "bfloat16").log_probs(pack(rows_of(SHAPES))).total


def adapted(architecture: str, **changes: object) -> PeftModel:
    model = with_lora(tiny_model(architecture, **changes), rank=2, alpha=4.0, targets="all-linear", dropout=0.0)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("architecture", EVERY)
def test_a_rounded_base_gives_the_same_log_probs_to_the_bit(architecture: str) -> None:
    expected = log_probs(adapted_with_seed(architecture))
    model = adapted_with_seed(architecture)
    store_frozen(model)
    assert torch.equal(log_probs(model), expected)


def adapted_with_seed(architecture: str) -> PeftModel:
    torch.manual_seed(0)
    return adapted(architecture)


def test_a_rounded_base_gives_its_adapter_the_same_gradients_to_the_bit() -> None:
    gradients: list[dict[str, torch.Tensor]] = []
    for rounded in (False, True):
        model = adapted_with_seed("llama")
        if rounded:
            store_frozen(model)
        log_probs(model).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_a_rounded_copy_agrees_with_its_trained_original_to_the_bit() -> None:
    model = tiny_model("llama").requires_grad_(True)
    assert torch.equal(log_probs(frozen_copy(model, half=True)), log_probs(model).detach())


def test_a_rounded_copy_takes_less_memory_and_leaves_its_original_alone() -> None:
    model = tiny_model("llama", tie_word_embeddings=False).requires_grad_(True)
    small = frozen_copy(model, half=True)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    saved = sum(p.nbytes for p in model.parameters()) - sum(p.nbytes for p in small.parameters())
    assert saved == 2 * linear
    assert not any(p.requires_grad for p in small.parameters())


def test_embeddings_norms_and_what_is_trained_stay_float32() -> None:
    model = adapted("llama", tie_word_embeddings=True)
    store_frozen(model)
    kept = {name for name, p in model.named_parameters() if p.dtype == torch.float32}
    assert all(any(part in name for part in ("lora_", "norm", "embed_tokens")) for name in kept)
    assert model.get_output_embeddings().weight.dtype == torch.float32  # tied
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_a_trained_model_is_left_alone() -> None:
    model = tiny_model("llama").requires_grad_(True)
    store_frozen(model)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_float32_copy_is_exact() -> None:
    model = tiny_model("llama")
    for p, q in zip(model.parameters(), frozen_copy(model, half=False).parameters(), strict=True):
        assert torch.equal(p, q)
