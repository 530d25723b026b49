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


def set_training(model: torch.nn.Module, *, dropout: bool) -> None:
    """Prepare `model` for training steps, its dropout off unless `dropout`.

    Without dropout the whole model stays in evaluation mode, but for the layers that recompute their activations:
    those do so in training mode only, and have no dropout of their own.
    """
    model.train(dropout)
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True
