"""Dropout is on where it was asked for, and nowhere else."""

import torch

from tests.tiny import tiny_model
from truenorth.models.load import with_lora
from truenorth.models.modes import set_training


def training(model: torch.nn.Module) -> set[str]:
    return {name.partition("layers.0.")[2] for name, m in model.named_modules() if m.training and "layers.0." in name}


def test_an_adapters_dropout_is_on_without_the_models_own() -> None:
    model = with_lora(tiny_model("llama"), rank=2, alpha=4, targets=["q_proj"], dropout=0.5)
    set_training(model, dropout=False, adapter_dropout=True)
    assert training(model) == {
        "self_attn.q_proj.lora_dropout.default",
    }


def test_no_dropout_is_on_unless_asked() -> None:
    model = with_lora(tiny_model("llama"), rank=2, alpha=4, targets=["q_proj"], dropout=0.5)
    set_training(model, dropout=False)
    assert not training(model)
