"""Any torch optimizer, each of whose steps is merged with a task vector by a rule."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import AdamW

from .draws import PIECE, key_of
from .movement import Given, Movement, OfAdam, begin
from .rule import Rule
from .task_vector import held
from .tensor_merge import TensorMerge

SMALL = 2**17  # entries up to which tensors are merged together, as each call takes as long as some thousand entries


@dataclass(frozen=True, slots=True)
class Unit:
    """What is merged at once: a large tensor, or small ones of one group that lie one after the other."""

    names: tuple[str, ...]
    group: int  # number of the group of parameters
    merge: TensorMerge


class Merged(torch.optim.Optimizer):
    """`inner`, whose groups and state it shares; what further groups hold is stepped and not merged.

    Torch's AdamW is taken apart: its kernel moves the moments and computes the movement, and weight decay, which is no
    part of it, reaches all weights. Of another optimizer, and between merges that are several steps apart, movements
    are the weights minus a copy of them. Random numbers depend on seed, merge and parameter name alone, those of small
    tensors on the names of all that are merged together.
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
        names = {id(parameter): name for name, parameter in named.items()}
        groups = ([names.get(id(p), "") for p in group["params"]] for group in inner.param_groups)
        merged = [group for group in groups if group[0]]  # they come first
        self.groups = len(merged)
        self._share()
        self._copies, self._units, self._spare = dict[str, Tensor](), list[Unit](), torch.empty(0)
        for number, group in enumerate(() if rule.idle else merged):
            for unit in _units(group, self.named, together=rule.selection == "drawn"):
                self._units.append(self._unit(unit, number, task))

    def _unit(self, names: tuple[str, ...], group: int, task: Mapping[str, Tensor]) -> Unit:
        flat = _flat([task[name] for name in names])
        span = range(len(flat))
        kept = held(self.rule, flat, span, key_of(self.seed, *names, "task"))
        return Unit(names, group, TensorMerge(self.rule, span, kept))

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
        moving = {name for name, parameter in self.named.items() if parameter.grad is not None}
        if adam := is_adam(self.inner):
            self._decay(moving)
        if moments_alone(self.inner, self.rule):
            self._step_adam(moving)
        else:
            self._step_any(moving, *["weight_decay"] * adam)
        return loss

    def _decay(self, moving: Set[str]) -> None:
        """Take the weight decay off the weights, and off a copy of them, so that it is in no movement."""
        for group in self.param_groups[: self.groups]:
            if kept := group["lr"] * group["weight_decay"]:
                of_group = {id(p) for p in group["params"]}
                for name in (n for n in moving if id(self.named[n]) in of_group):
                    self.named[name].mul_(1 - kept)
                    if (copy := self.state[self.named[name]].get("anchor")) is not None:
                        copy.mul_(1 - kept)

    def _step_adam(self, moving: Set[str]) -> None:
        with self._groups(self.param_groups[self.groups :]):
            self.inner.step()
        for unit in self._units:
            group, parameters = self.param_groups[unit.group], [self.named[name] for name in unit.names]
            states = [self.state[parameter] for parameter in parameters]
            for name, parameter, state in zip(unit.names, parameters, states, strict=True):
                if name in moving:
                    begin(state, parameter, on_device=group["capturable"] or group["fused"])
                    state["step"] += 1
                    self._count(name)
            if not moving.isdisjoint(unit.names):
                self._merge(unit, moving, OfAdam(parameters, states, group, self._spare_for(unit)))

    def _step_any(self, moving: Set[str], *decayed: str) -> None:
        before = {name: self._copy(name) for name in moving}
        with self._without(*decayed):
            self.inner.step()
        for name, copy in before.items():
            if self._count(name) % self.rule.every:
                self.state[self.named[name]]["anchor"] = copy  # only now: an optimizer makes its state itself
            else:
                self.state[self.named[name]].pop("anchor", None)
                _swap_for_movement(self.named[name].view(-1), copy.view(-1))
        due = {name for name in moving if "anchor" not in self.state[self.named[name]]}
        for unit in self._units:
            if not due.isdisjoint(unit.names):
                moved = [before[n] if n in due else torch.zeros_like(self.named[n]) for n in unit.names]
                self._merge(unit, due, Given(_flat(moved)))

    def _spare_for(self, unit: Unit) -> Tensor:
        """What a movement is written to: a piece, or where the largest entries are sought, all of it."""
        n, device = len(unit.merge.span), self.named[unit.names[0]].device
        size = n if self.rule.selection == "largest" else min(n, PIECE)
        if len(self._spare) < size or self._spare.device != device:
            self._spare = torch.empty(size, device=device)
        return self._spare

    def _copy(self, name: str) -> Tensor:
        """The weights as they were after the last merge."""
        parameter = self.named[name]
        if (kept := self.state[parameter].get("anchor")) is not None:
            return kept
        if name not in self._copies:
            self._copies[name] = torch.empty_like(parameter)
        return self._copies[name].copy_(parameter)

    def _count(self, name: str) -> int:
        """The steps of a parameter, with this one."""
        state = self.state[self.named[name]]
        state["merge_step"] = state.get("merge_step", 0) + 1
        return state["merge_step"]

    def _merge(self, unit: Unit, due: Set[str], movement: Movement) -> None:
        """Merge those of a unit that are due."""
        parameters = [self.named[name] for name in unit.names]
        steps = sum(self.state[parameter].get("merge_step", 0) for parameter in parameters)
        flat = _flat([parameter.data for parameter in parameters])
        unit.merge(flat, movement, key_of(self.seed, *unit.names, steps))
        if len(parameters) > 1:
            parts = flat.split([parameter.numel() for parameter in parameters])
            for name, parameter, merged in zip(unit.names, parameters, parts, strict=True):
                if name in due:
                    parameter.copy_(merged.view_as(parameter))

    @contextmanager
    def _groups(self, groups: list[dict[str, Any]]) -> Generator[None]:
        """Within it, these are the inner optimizer's groups."""
        self.inner.param_groups = groups
        try:
            yield
        finally:
            self.inner.param_groups = self.param_groups

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


def _units(names: Sequence[str], named: Mapping[str, Tensor], *, together: bool) -> Iterator[tuple[str, ...]]:
    """The parameters of a group, small ones with others as far as they fit into a piece."""
    waiting, entries = list[str](), 0
    for name in names:
        size = named[name].numel()
        if not together or size > SMALL:
            yield (name,)
            continue
        if entries + size > PIECE:
            yield tuple(waiting)
            waiting, entries = [], 0
        waiting.append(name)
        entries += size
    if waiting:
        yield tuple(waiting)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """One tensor's entries where they stand, or a copy of all."""
    return tensors[0].view(-1) if len(tensors) == 1 else torch.cat([tensor.view(-1) for tensor in tensors])


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
