"""Any torch optimizer, each of whose steps is merged with a task vector by a rule."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import AdamW

from .draws import key_of
from .rule import Rule
from .task_vector import held
from .tensor_merge import Given, Movement, OfAdam, TensorMerge


class Merged(torch.optim.Optimizer):
    """`inner`, whose groups and state it shares; what further groups hold is stepped and not merged.

    Of torch's AdamW the movement is computed from its moments where it is kept, and weight decay, which is no part of
    it, reaches all weights. Of another optimizer, and between merges that are several steps apart, it is the weights
    minus a copy of them. Random numbers depend on seed, parameter name and merge alone.
    """

    def __init__(
        self,
        inner: torch.optim.Optimizer,
        rule: Rule,
        task: Mapping[str, Tensor],
        named: Mapping[str, torch.nn.Parameter],
        *,
        seed: int,
    ) -> None:
        """`task`, SFT minus base, float32 and of the shape of each of the parameters `named`, is consumed."""
        super().__init__(inner.param_groups, inner.defaults)
        self.inner, self.rule, self.seed, self.named = inner, rule, seed, dict(named)
        merged = {id(parameter) for parameter in named.values()}
        self.groups = sum(id(group["params"][0]) in merged for group in inner.param_groups)  # they come first
        self._share()
        self._copies = dict[str, Tensor]()
        self._merges = dict[str, TensorMerge]()
        for name, parameter in {} if rule.idle else named.items():
            span = range(parameter.numel())
            kept = held(rule, task[name].flatten(), span, key_of(seed, name, "task"))
            self._merges[name] = TensorMerge(rule, span, kept)

    def _share(self) -> None:
        self.state, self.param_groups = self.inner.state, self.inner.param_groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group whose parameters are stepped and not merged."""
        if hasattr(self, "inner"):
            self.inner.add_param_group(param_group)
        else:
            super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict)
        self._share()

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        if self.rule.idle:
            return self.inner.step() if closure is None else self.inner.step(closure)
        with torch.enable_grad():
            loss = None if closure is None else closure()
        moving = [name for name, parameter in self.named.items() if parameter.grad is not None]
        if adam := is_adam(self.inner):
            self._decay(moving)
        if moments_alone(self.inner, self.rule):
            self._step_adam(moving)
        else:
            self._step_any(moving, *["weight_decay"] * adam)
        return loss

    def _decay(self, moving: Sequence[str]) -> None:
        """Take the weight decay off the weights, and off a copy of them, so that it is in no movement."""
        for group in self.param_groups[: self.groups]:
            if kept := group["lr"] * group["weight_decay"]:
                of_group = {id(p) for p in group["params"]}
                for name in (n for n in moving if id(self.named[n]) in of_group):
                    self.named[name].mul_(1 - kept)
                    if (copy := self.state[self.named[name]].get("anchor")) is not None:
                        copy.mul_(1 - kept)

    def _step_adam(self, moving: Sequence[str]) -> None:
        with self._without("lr", "weight_decay"):  # moments move, weights do not
            self.inner.step()
        groups = {id(p): group for group in self.param_groups for p in group["params"]}
        for name in moving:
            parameter = self.named[name]
            state, group = self.state[parameter], groups[id(parameter)]
            steps, (first, second) = float(state["step"]), group["betas"]
            movement = OfAdam(
                mean=state["exp_avg"].view(-1),
                square=state["exp_avg_sq"].view(-1),
                rate=group["lr"] / (1 - first**steps),
                root=(1 - second**steps) ** -0.5,
                epsilon=group["eps"],
            )
            self._merge(name, movement, self._counted(parameter))

    def _step_any(self, moving: Sequence[str], *decayed: str) -> None:
        before = {name: self._copy(name) for name in moving}
        with self._without(*decayed):
            self.inner.step()
        for name, copy in before.items():
            parameter, step = self.named[name], self._counted(self.named[name])
            if step % self.rule.every:
                self.state[parameter]["anchor"] = copy  # only now: an optimizer makes its state where there is none
                continue
            self.state[parameter].pop("anchor", None)
            _swap_for_movement(parameter.view(-1), copy.view(-1))
            self._merge(name, Given(copy.view(-1)), step)

    def _copy(self, name: str) -> Tensor:
        """The weights as they were after the last merge."""
        parameter = self.named[name]
        if (kept := self.state[parameter].get("anchor")) is not None:
            return kept
        if name not in self._copies:
            self._copies[name] = torch.empty_like(parameter)
        return self._copies[name].copy_(parameter)

    def _counted(self, parameter: Tensor) -> int:
        """The steps of a parameter, with this one."""
        state = self.state[parameter]
        state["merge_step"] = state.get("merge_step", 0) + 1
        return state["merge_step"]

    def _merge(self, name: str, movement: Movement, step: int) -> None:
        self._merges[name](self.named[name].view(-1), movement, key_of(self.seed, name, step))

    @contextmanager
    def _without(self, *settings: str) -> Generator[None]:
        """Within it, these settings of the merged groups are 0."""
        groups = self.param_groups[: self.groups]
        values = [{setting: group[setting] for setting in settings} for group in groups]
        for group in groups:
            group.update(dict.fromkeys(settings, 0.0))
        try:
            yield
        finally:
            for group, value in zip(groups, values, strict=True):
                group.update(value)


def is_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its movement follows from two moments, and weight decay comes apart from it."""
    return isinstance(optimizer, AdamW) and not any(g["amsgrad"] or g["maximize"] for g in optimizer.param_groups)


def moments_alone(optimizer: torch.optim.Optimizer, rule: Rule) -> bool:
    """Whether merging needs no copy of the weights."""
    return is_adam(optimizer) and rule.every == 1


def _swap_for_movement(weights: Tensor, before: Tensor) -> None:
    """Put the weights back to `before`, and into `before` what they had moved by."""
    for at in range(0, len(weights), 2**18):
        own, old = weights[at : at + 2**18], before[at : at + 2**18]
        moved = own - old
        own.copy_(old)
        old.copy_(moved)
