"""Any torch optimizer, each of whose steps is merged with a task vector by a rule."""

from collections.abc import Callable, Generator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import partial
from itertools import accumulate, chain
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import AdamW, RMSprop

from ..weights.sparsify import Cut, count_of
from . import units
from .draws import PIECE, key_of
from .master_weights import refuse_other_types
from .movement import ADAM, RMSPROP, Given, Movement, OfAdam, OfRMSprop, Since, begin
from .native import Steps
from .rule import Rule
from .shards import local, sharers_of
from .shared_largest import SharedLargest
from .task_vector import held
from .threads import Spare, side_by_side
from .units import Unit, kind_of, laid_out, packed

foreach_add = torch._foreach_add_  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]  -- as torch's own do


class Merged(torch.optim.Optimizer):
    """`inner`, whose groups and state it shares. Groups of parameters that are not `named` are stepped and not merged.

    Torch's AdamW and RMSprop are taken apart: what moves their moments computes the movement, and weight decay, which
    is no part of it, reaches all weights. Of another optimizer, and between merges that are several steps apart,
    movements are the weights minus a copy of them. Random numbers depend on seed, merge and parameter name alone,
    those of small tensors on the names of all that are merged together.
    """

    def __init__(
        self,
        inner: torch.optim.Optimizer,
        rule: Rule,
        task: Mapping[str, Tensor],
        named: Mapping[str, torch.nn.Parameter],
        *,
        seed: int,
        by_kernels: bool = False,
    ) -> None:
        """`task`: SFT minus base of each of the parameters `named`, float32, as far as this process holds it. It is
        consumed: its memory becomes ours.

        `by_kernels`: compile the merges, in C on a CPU, elsewhere by torch.compile, and there only those of a rule
        that draws its entries. They round at other places than torch's operations.

        Where processes share parameters out, all of them must make one, and step it, together. Raises SettingsError
        for parameters that are not float32.
        """
        refuse_other_types("merged steps", named.values())
        super().__init__(inner.param_groups, inner.defaults)
        self.inner, self.rule, self.seed, self.named = inner, rule, seed, dict(named)
        on_cpu = all(parameter.is_cpu for parameter in named.values())
        self.by_kernels = by_kernels and (on_cpu or rule.selection == "drawn")
        names = {id(parameter): name for name, parameter in named.items()}
        groups = ([names.get(id(p), "") for p in group["params"]] for group in inner.param_groups)
        merged = [group for group in groups if group[0]]  # they come first
        self.groups = len(merged)
        self._share()
        self._copies, self._spare, self._later = dict[str, Tensor](), Spare(), Steps()
        self._sharers = sharers_of(named.values())
        self._ranking = self._ranking_of(self.named)
        groups = [] if rule.idle else [{name: self.named[name] for name in group} for group in merged]
        self._batches = [batch for number, own in enumerate(groups) for batch in self._batches_of(own, number, task)]
        room = max((sum(unit.size for unit in batch) for batch in self._batches), default=0)
        # Movements are written to a piece, or where the largest entries are sought, to all of a batch.
        self._room = room if rule.selection == "largest" else min(room, PIECE)

    def _ranking_of(self, named: Mapping[str, Tensor]) -> SharedLargest | None:
        """What finds the largest entries of tensors of which this process holds a part."""
        if self.rule.selection == "drawn" or self.rule.keep == 1 or self._sharers.size == 1:
            return None
        return SharedLargest({n: count_of(p.numel(), self.rule.keep) for n, p in named.items()}, self._sharers)

    def _batches_of(self, named: Mapping[str, Tensor], group: int, task: Mapping[str, Tensor]) -> list[list[Unit]]:
        """Units of a group: alone, or those whose largest entries are found in the same messages."""

        def unit(*names: str, cut: Cut | None = None) -> Unit:
            parameters, key = tuple(named[name] for name in names), key_of(self.seed, *names, "task")
            kind = kind_of(parameters, self._later if self.by_kernels else None)
            parts = zip(*laid_out(parameters, [task[name].view(-1) for name in names]), strict=True)
            merges = (kind(self.rule, span, held(self.rule, own, span, key, cut)) for span, own in parts)
            return Unit(names, group, parameters, tuple(merges))

        if self._ranking is None:
            small = units.SMALL if self.rule.selection == "drawn" else 0
            return [[unit(*names)] for names in packed(named, small=small)]
        most, batches = units.RANKED * self._sharers.size, list[list[Unit]]()
        for names in packed(named, small=most, most=most):
            ranking = self._ranking_of({name: named[name] for name in names})
            assert ranking is not None
            cuts = ranking.cuts({name: task[name].view(-1) for name in names})
            batches.append([unit(name, cut=cuts[name]) for name in names])
        return batches

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
            self._step_known(moving, adam=adam)
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

    def _step_known(self, moving: Set[str], *, adam: bool) -> None:
        with self._groups(self.param_groups[self.groups :]):
            self.inner.step()

        for name in moving:
            self._count(name)
        for group in self.param_groups[: self.groups]:
            ours = [p for p in group["params"] if p.grad is not None]
            for parameter in ours:
                on_device = group["capturable"] or (adam and group["fused"])
                begin(self.state[parameter], parameter, *(ADAM if adam else RMSPROP), on_device=on_device)
            if ours:
                foreach_add([self.state[p]["step"] for p in ours], 1)

        def movement(unit: Unit, at: int) -> Movement:
            group, states = self.param_groups[unit.group], [self.state[parameter] for parameter in unit.parameters]
            of = OfAdam if adam else OfRMSprop
            return of(unit.parameters, states, group, self._spare(self._room, unit.parameters[0].device)[at:])

        self._merge(moving, movement)

    def _step_any(self, moving: Set[str], *decayed: str) -> None:
        before = {name: self._copy(name) for name in moving}
        with self._without(*decayed):
            self.inner.step()
        for name, copy in before.items():
            if self._count(name) % self.rule.every:
                self.state[self.named[name]]["anchor"] = copy  # only now: an optimizer makes its state itself
            else:
                self.state[self.named[name]].pop("anchor", None)
        due = {name for name in moving if "anchor" not in self.state[self.named[name]]}

        def movement(unit: Unit, at: int) -> Movement:
            own = [local(parameter) for parameter in unit.parameters]
            then = [local(before[n]) if n in due else weights for n, weights in zip(unit.names, own, strict=True)]
            spare = self._spare(self._room, own[0].device)[at:]
            if len(own) == 1:
                return Since(own[0], then[0], spare)
            spare = spare[: unit.size]
            for weights, old, part in zip(own, then, spare.split([len(w) for w in own]), strict=True):
                Since(weights, old, part).at(slice(0, len(weights)))
            return Given(spare)

        self._merge(due, movement)

    def _merge(self, due: Set[str], movement_of: Callable[[Unit, int], Movement]) -> None:
        """Merge the tensors named in `due`. `movement_of` a unit may use the spare memory from a given entry on."""
        self._later.drop()
        moving = [[unit for unit in batch if not due.isdisjoint(unit.names)] for batch in self._batches]
        if self._ranking is None:
            units = sorted(chain.from_iterable(moving), key=lambda unit: -unit.size)  # none large is left for the end
            moves = [partial(self._move, unit, due, movement_of) for unit in units]
            side_by_side(moves, in_turn=self.by_kernels)  # what is compiled has all threads
            self._later.take()
        for batch in moving if self._ranking is not None else ():
            self._move_ranked(batch, due, movement_of)

    def _move(self, unit: Unit, due: Set[str], movement_of: Callable[[Unit, int], Movement]) -> None:
        movement = movement_of(unit, 0)
        unit.move(due, movement, self._key(unit))

    def _move_ranked(self, batch: Sequence[Unit], due: Set[str], movement_of: Callable[[Unit, int], Movement]) -> None:
        """Merge tensors that processes share out: together they find where the largest entries begin."""
        if not batch:
            return
        assert self._ranking is not None
        starts = accumulate((unit.size for unit in batch), initial=0)
        moved = {u.names[0]: movement_of(u, at).at(slice(0, u.size)) for u, at in zip(batch, starts, strict=False)}
        cuts = self._ranking.cuts(moved)
        for unit in batch:
            unit.move(due, Given(moved[unit.names[0]]), self._key(unit), cuts[unit.names[0]])

    def _key(self, unit: Unit) -> int:
        """The key of this merge of a unit: its tensors' steps, added up, tell one merge from the next."""
        return key_of(self.seed, *unit.names, sum(self.state[p].get("merge_step", 0) for p in unit.parameters))

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


def is_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its movement follows from two moments, and weight decay comes apart from it.

    A subclass of torch's may step as it likes.
    """
    return type(optimizer) is AdamW and not any(g["amsgrad"] or g["maximize"] for g in optimizer.param_groups)


def is_rmsprop(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its movement follows from the mean of squares alone."""
    other = ("momentum", "centered", "weight_decay", "maximize")
    return type(optimizer) is RMSprop and not any(g[setting] for g in optimizer.param_groups for setting in other)


def moments_alone(optimizer: torch.optim.Optimizer, rule: Rule) -> bool:
    """Whether merging needs no copy of the weights."""
    return rule.every == 1 and (is_adam(optimizer) or is_rmsprop(optimizer))
