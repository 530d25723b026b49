"""Training without dropout, and evaluation that leaves a model as it was."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from transformers.modeling_layers import GradientCheckpointingLayer


@contextmanager
def evaluating(model: torch.nn.Module) -> Generator[None]:
    """Evaluation mode within, and afterwards each module's own mode again."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def set_training(model: torch.nn.Module, *, dropout: bool, adapter_dropout: bool = False) -> None:
    """Prepare `model` for training steps. Dropout is off unless asked for: the model's own, and its LoRA adapter's.

    Without dropout the whole model stays in evaluation mode, but for the layers that recompute their activations:
    those do so in training mode only, and have no dropout of their own.
    """
    model.train(dropout)
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True
    for name, module in model.named_modules():
        if adapter_dropout and ".lora_dropout." in name:
            module.train()
