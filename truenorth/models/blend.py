"""Two models mixed in memory, with a share of their own for each block of layers: to try shares, or climb by them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..weights.merge import block_of, layer_of
from .logprobs import Model
from .soup import check_soup, dense


class Blend:
    """share * start + (1 - share) * end of each layer, by its block; float32, in three copies of the weights.

    Outside of the layers the share is one for all.
    """

    def __init__(self, start: str, end: str, *, device: torch.device) -> None:
        """Raises ModelError unless the two may be mixed. Adapters are merged into their base first."""
        check_soup(start, end)
        self.model: Model = dense(end)
        self.model.to(device)  # pyright: ignore[reportArgumentType]
        there = dict(dense(start).named_parameters())
        self._parameters = dict(self.model.named_parameters())
        self._ends = {
            name: (there[name].detach().to(device), p.detach().clone()) for name, p in self._parameters.items()
        }
        self._layer = {name: layer_of(name) for name in self._parameters}
        self.layers = 1 + max((layer for layer in self._layer.values() if layer is not None), default=-1)

    @torch.no_grad()
    def mix(self, shares: Sequence[float], outside: float) -> None:
        """Set the weights: `shares` of the start's by block, lowest layers first, `outside` of all else."""
        for name, parameter in self._parameters.items():
            start, end = self._ends[name]
            block = self._block(name, len(shares))
            torch.lerp(end, start, outside if block is None else shares[block], out=parameter.data)

    def slopes(self, blocks: int, backward: Callable[[], None]) -> list[float]:
        """The derivative, by the share of each block, of what `backward` takes the gradients of.

        A parameter's gradient is let go as soon as it is summed up.
        """
        found = [0.0] * blocks

        def summed(name: str, block: int) -> Callable[[Tensor], None]:
            def take(parameter: Tensor) -> None:
                start, end = self._ends[name]
                assert parameter.grad is not None
                found[block] += float((parameter.grad.double() * (start - end).double()).sum())
                parameter.grad = None

            return take

        hooks = list[torch.utils.hooks.RemovableHandle]()
        for name, parameter in self._parameters.items():
            if (block := self._block(name, blocks)) is not None:
                parameter.requires_grad_(True)
                hooks.append(parameter.register_post_accumulate_grad_hook(summed(name, block)))
        try:
            backward()
        finally:
            for hook in hooks:
                hook.remove()
            self.model.requires_grad_(False)
        return found

    def _block(self, name: str, blocks: int) -> int | None:
        layer = self._layer[name]
        return None if layer is None else block_of(layer, self.layers, blocks)
