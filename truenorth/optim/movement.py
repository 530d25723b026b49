"""What an optimizer would move a parameter by, for a rule to merge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from . import native
from .shards import local


class Movement(Protocol):
    """How far an optimizer's step would move flat weights [n].

    Ask for each entry once, in order, by one of these methods: the optimizer's state moves when it is asked. The
    weights of what was asked for are as they were before the step.
    """

    def at(self, within: slice) -> Tensor:
        """[within]. The caller may write to it, and must be done with it when it asks for the next piece."""
        ...

    def few(self, within: slice, places: Tensor) -> Tensor:
        """[k] a new tensor: the entries at `places`, counted from the start of `within`. The others are dropped."""
        ...

    def native(self, within: slice) -> native.Movement:
        """The same for `native` to compute in C, on a CPU: once, as the state moves then."""
        ...

    def filled(self) -> Tensor:
        """[n] all of it, computed in C."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """A movement that is there."""

    values: Tensor  # [n], and may be written to

    def at(self, within: slice) -> Tensor:
        return self.values[within]

    def few(self, within: slice, places: Tensor) -> Tensor:
        return self.values[within].index_select(0, places)

    def native(self, within: slice) -> native.Movement:
        return native.Movement.of(native.GIVEN, self.values[within])

    def filled(self) -> Tensor:
        return self.values


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

    def native(self, within: slice) -> native.Movement:
        return native.Movement.of(native.SINCE, self.weights[within], self.before[within])

    def filled(self) -> Tensor:
        return _filled(self, self.spare, len(self.weights))


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

    def native(self, within: slice) -> native.Movement:
        if self._several:
            return native.Movement.of(native.GIVEN, self.at(within))
        (parameter,), (state,), (first, second) = self.parameters, self.states, self.group["betas"]
        assert parameter.grad is not None, "a tensor alone is merged where it has one"
        steps = float(state["step"])
        unbias, rate = (1 - second**steps) ** -0.5, self.group["lr"] / (1 - first**steps)
        parts = (local(x)[within] for x in (state["exp_avg"], state["exp_avg_sq"], parameter.grad))
        numbers = (1 - first, second, 1 - second, unbias, self.group["eps"], rate)
        return native.Movement.of(native.ADAM, *parts, numbers=numbers)

    def filled(self) -> Tensor:
        return _filled(self, self.spare, sum(len(local(parameter)) for parameter in self.parameters))

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


@dataclass(frozen=True, slots=True)
class OfRMSprop:
    """The step of torch's RMSprop without momentum or weight decay, on tensors that lie one after the other."""

    parameters: Sequence[Tensor]
    states: Sequence[dict[str, Any]]
    group: Mapping[str, Any]
    spare: Tensor  # as long as the longest piece that is asked for

    def at(self, within: slice) -> Tensor:
        several = len(self.parameters) > 1
        moved, cut = self.spare[: within.stop - within.start], slice(None) if several else within
        parts = moved.split([len(local(p)) for p in self.parameters]) if several else [moved]
        for to, parameter, state in zip(parts, self.parameters, self.states, strict=True):
            if parameter.grad is None:
                to.zero_()
                continue
            gradient, square = self._advance(parameter.grad, state, cut)
            torch.sqrt(square, out=to).add_(self.group["eps"])
            torch.div(gradient, to, out=to).mul_(-self.group["lr"])
        return moved

    def few(self, within: slice, places: Tensor) -> Tensor:
        if len(self.parameters) > 1:
            return self.at(within).index_select(0, places)
        (parameter,), (state,) = self.parameters, self.states
        assert parameter.grad is not None, "a tensor alone is merged where it has one"
        gradient, square = (part.index_select(0, places) for part in self._advance(parameter.grad, state, within))
        return gradient.div_(square.sqrt_().add_(self.group["eps"])).mul_(-self.group["lr"])

    def native(self, within: slice) -> native.Movement:
        if len(self.parameters) > 1:
            return native.Movement.of(native.GIVEN, self.at(within))
        (parameter,), (state,), group = self.parameters, self.states, self.group
        assert parameter.grad is not None, "a tensor alone is merged where it has one"
        gradient, square = (local(x)[within] for x in (parameter.grad, state["square_avg"]))
        numbers = (group["alpha"], 1 - group["alpha"], group["eps"], group["lr"])
        return native.Movement.of(native.RMSPROP, square, square, gradient, numbers=numbers)

    def filled(self) -> Tensor:
        return _filled(self, self.spare, sum(len(local(parameter)) for parameter in self.parameters))

    def _advance(self, gradient: Tensor, state: Mapping[str, Any], cut: slice) -> tuple[Tensor, Tensor]:
        """Move the mean of squares. Gives it after the gradient, both [cut]."""
        gradient, square, kept = local(gradient)[cut], local(state["square_avg"])[cut], self.group["alpha"]
        return gradient, square.mul_(kept).addcmul_(gradient, gradient, value=1 - kept)


def _filled(movement: Movement, spare: Tensor, entries: int) -> Tensor:
    to, by = spare[:entries], movement.native(slice(0, entries))
    return to if by.kind == native.GIVEN else native.filled(to, by)  # what is given stands there already


def begin(state: dict[str, Any], parameter: Tensor, *averages: str, on_device: bool) -> None:
    """Make a parameter's state as torch does, where there is none. `on_device`: its count of steps too."""
    if "step" not in state:
        state["step"] = torch.zeros((), device=parameter.device if on_device else "cpu")
        state |= {name: torch.zeros_like(parameter) for name in averages}


ADAM, RMSPROP = ("exp_avg", "exp_avg_sq"), ("square_avg",)  # their averages
