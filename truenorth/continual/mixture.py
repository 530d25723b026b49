"""Adapters of one base in memory, mixed by ratios: to try ratios, or to have a loss's gradient by them alone."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ..merges.adapters import Adapters
from ..models.load import load_model
from ..models.logprobs import Model
from ..weights.writer import write_folder

B_OF = (".lora_B.", ".lora_embedding_B.")


class Mixture:
    """sum_d ratio_d s_d B_d A_d on the base, as one adapter whose ranks stand side by side; at first ratios are 0."""

    def __init__(
        self, adapters: Sequence[str | Path], *, device: torch.device, trust_remote_code: bool = False
    ) -> None:
        """Raises ModelError unless they are plain LoRA adapters of one base and of one rank in each module."""
        self.count = len(adapters)
        self.model: Model = _joined(adapters, trust_remote_code=trust_remote_code)
        self.model.to(device)  # pyright: ignore[reportArgumentType]
        self._b = [p for name, p in self.model.named_parameters() if any(part in name for part in B_OF)]
        self._whole = [p.detach().clone() for p in self._b]  # [out, count * rank]
        for parameter in self._b:
            parameter.requires_grad_(True)
        self.mix([0.0] * self.count)

    @torch.no_grad()
    def mix(self, ratios: Sequence[float]) -> None:
        """Set the ratios: each scales its adapter's columns of B."""
        for parameter, whole in zip(self._b, self._whole, strict=True):
            scale = torch.tensor(ratios, device=whole.device, dtype=whole.dtype)
            parameter.copy_(whole * scale.repeat_interleave(whole.shape[1] // self.count))

    def slopes(self, loss: Tensor) -> list[float]:
        """The derivative of `loss` by each ratio: the gradient times the entry, summed over the entries of B_d."""
        gradients = cast(Sequence[Tensor | None], torch.autograd.grad(loss, self._b, allow_unused=True))
        found = torch.zeros(self.count, dtype=torch.float64)
        for gradient, whole in zip(gradients, self._whole, strict=True):
            if gradient is not None:  # an adapter that nothing reads has none
                products = (gradient.double() * whole.double()).sum(0)  # [count * rank]
                found += products.view(self.count, -1).sum(1).cpu()
        return found.tolist()


def _joined(adapters: Sequence[str | Path], *, trust_remote_code: bool) -> Model:
    """The base with all adapters at ratio 1."""
    if len(adapters) == 1:
        return load_model(str(adapters[0]), trust_remote_code=trust_remote_code)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "joined"
        write_folder(Adapters(weights=(1.0,) * len(adapters)).outcome(adapters, None), place, card="")
        return load_model(str(place), trust_remote_code=trust_remote_code)
