"""What an optimizer would move a parameter by, for a rule to merge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from . import kernels
from .shards import local

NONE = torch.empty(0)


class Movement(Protocol):
    """Of flat weights, which stand where they stood before. Asked once, for all of it or piece by piece in order."""

    def at(self, within: slice) -> Tensor:
        """[within], to be written to; it holds until the next piece is asked for."""
        ...

    def few(self, within: slice, places: Tensor) -> Tensor:
        """[k] at `places` in `within`: a new tensor."""
        ...

    def formula(self, within: slice) -> kernels.Movement:
        """What a kernel computes it by. To be computed once."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """A movement that is there."""

    values: Tensor  # [n], and may be written to

    def at(self, within: slice) -> Tensor:
        return self.values[within]

    def few(self, within: slice, places: Tensor) -> Tensor:
        return self.values[within].index_select(0, places)

    def formula(self, within: slice) -> kernels.Movement:
        return kernels.Movement(kernels.given, (self.at(within),), NONE)


@dataclass(frozen=True, slots=True)
class Since:
    """From weights as they were before to those that an optimizer has left, which go back as they are asked for."""

    weights: Tensor  # [n]
    before: Tensor  # [n]
    spare: Tensor  # as long as the longest piece that is asked for

    def at(self, within: slice) -> Tensor:
        weights, before = self.weights[within], self.before[within]
        moved = torch.sub(weights, before, out=self.spare[: len(weights)])
        weights.copy_(before)
        return moved

    def few(self, within: slice, places: Tensor) -> Tensor:
        weights, before = self.weights[within], self.before[within]
        moved = weights.index_select(0, places).sub_(before.index_select(0, places))
        weights.copy_(before)
        return moved

    def formula(self, within: slice) -> kernels.Movement:
        return kernels.Movement(kernels.given, (self.at(within),), NONE)


@dataclass(frozen=True, slots=True)
class OfAdam:
    """The step of torch's AdamW without its weight decay, on tensors that lie one after the other.

    Its own kernel moves the moments of a piece and computes the movement; all of it is then in the processor's cache.
    Several tensors are one piece.
    """

    parameters: Sequence[Tensor]
    states: Sequence[dict[str, Any]]  # of the optimizer, with this step counted
    group: Mapping[str, Any]
    spare: Tensor  # as long as the longest piece that is asked for

    def at(self, within: slice) -> Tensor:
        moved = self.spare[: within.stop - within.start].zero_()
        self._advance(moved.split([len(local(p)) for p in self.parameters]) if self._several else [moved], within)
        return moved

    def few(self, within: slice, places: Tensor) -> Tensor:
        """Fewer passes: weights that take a step at learning rate 0 are in the cache when those at `places` move."""
        if self._several:
            return self.at(within).index_select(0, places)
        (parameter,), (state,), (first, second) = self.parameters, self.states, self.group["betas"]
        self._advance([local(parameter)[within]], within, rate=0.0)
        mean, square = (local(state[m])[within].index_select(0, places) for m in ("exp_avg", "exp_avg_sq"))
        steps = float(state["step"])
        below = square.sqrt_().mul_((1 - second**steps) ** -0.5).add_(self.group["eps"])
        return mean.div_(below).mul_(-self.group["lr"] / (1 - first**steps))

    def formula(self, within: slice) -> kernels.Movement:
        if self._several or not self.spare.is_cpu:  # elsewhere steps are counted where asking for them takes long
            return kernels.Movement(kernels.given, (self.at(within),), NONE)
        (parameter,), (state,), group = self.parameters, self.states, self.group
        numbers = kernels.numbers_of_adam(group["betas"], group["eps"], group["lr"], float(state["step"]))
        assert parameter.grad is not None, "a tensor alone is merged where it has one"
        gradient, mean, square = (local(x)[within] for x in (parameter.grad, state["exp_avg"], state["exp_avg_sq"]))
        return kernels.Movement(kernels.by_adam, (gradient, mean, square), numbers)

    @property
    def _several(self) -> bool:
        return len(self.parameters) > 1

    def _advance(self, moved: Sequence[Tensor], within: slice, rate: float | None = None) -> None:
        """Take the step on `moved` in place of the weights. What has no gradient does not move."""
        cut = slice(None) if self._several else within
        flat = [
            (to, *(local(x)[cut] for x in (p.grad, state["exp_avg"], state["exp_avg_sq"])), state["step"] - 1)
            for to, p, state in zip(moved, self.parameters, self.states, strict=True)
            if p.grad is not None and len(to)
        ]
        if not flat:
            return
        moved, gradients, means, squares, steps = map(list, zip(*flat, strict=True))
        group, (first, second) = self.group, self.group["betas"]
        adamw(
            *(moved, gradients, means, squares, [], steps),
            foreach=group["foreach"],
            capturable=group["capturable"],
            fused=group["fused"],
            amsgrad=False,
            beta1=first,
            beta2=second,
            lr=group["lr"] if rate is None else rate,
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )


def begin(state: dict[str, Any], parameter: Tensor, *, on_device: bool) -> None:
    """Make a parameter's state as torch's AdamW does, where there is none. `on_device`: its count of steps too."""
    if "step" not in state:
        state["step"] = torch.zeros((), device=parameter.device if on_device else "cpu")
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
