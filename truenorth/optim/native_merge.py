"""One parameter's merged step in C on a CPU, which keeps and draws what `TensorMerge` does."""

import torch
from torch import Tensor

from ..weights.sparsify import Cut, count_of
from . import draws, native
from .draws import LEVELS, mask_circle, noise_circle, starts, three
from .largest import Largest
from .movement import Given, Movement
from .native import Drawn, Shares, Some, Steps
from .rule import Rule
from .task_vector import SPARSE, Dense, Sparse
from .tensor_merge import TensorMerge

CPU = torch.device("cpu")
ALL_KEPT = Cut(-1.0, 0)


class NativeMerge:
    """Merges the steps of one parameter, of which it holds the entries at `span`."""

    def __init__(self, rule: Rule, span: range, task: Dense | Sparse, later: Steps | None = None) -> None:
        """`later`: where a step is put that may be taken together with others."""
        self.rule, self.span, self.task, self.later = rule, span, task, later
        self.plain = TensorMerge(rule, span, task)
        self.largest = Largest(native.between)

    def __call__(self, weights: Tensor, movement: Movement, key: int, cut: Cut | None = None) -> None:
        """As `TensorMerge`."""
        if self.rule.selection == "largest":
            self._largest(weights, movement, key, cut)
        elif self.rule.keep <= SPARSE:
            self._few_drawn(weights, movement, key)
        else:
            self._drawn(weights, movement, key)

    def _few_drawn(self, weights: Tensor, movement: Movement, key: int) -> None:
        (of_update, of_task), (own, others, rounding) = self.rule.shares, three(key)
        pulls = self.plain.few_of_task(others) if of_task else None
        steps = self.later or Steps()
        for within, places, first, _ in draws.drawn_places(own, self.span, self.rule.keep, CPU):
            at, noise, task = Some.of(places, share=of_update, first=first), weights[:0], Some.of()
            if pulls is not None:
                pulled, values = next(pulls)
                noise = draws.noise(rounding + pulled.key, 0, slice(0, len(values)), weights)
                task = Some.of(pulled.places, values, share=of_task)
            steps.add(movement.native(within), weights[within], at, task, noise)
        if self.later is None:
            steps.take()

    def _drawn(self, weights: Tensor, movement: Movement, key: int) -> None:
        assert isinstance(self.task, Dense)
        rule, span, (own, others, rounding) = self.rule, self.span, three(key)
        circle = mask_circle(rule.keep, CPU) if rule.keep < 1 else None
        of_update = None if circle is None else (circle, starts(own, span))
        of_task = None if circle is None or not rule.fresh else (circle, starts(others, span))
        drawn = Drawn(span.start, of_update, of_task, self._noise(rounding))
        native.step_all(movement.native(slice(0, len(span))), weights, self.task.values, Shares.of(rule), drawn)

    def _largest(self, weights: Tensor, movement: Movement, key: int, cut: Cut | None) -> None:
        n, rule = len(weights), self.rule
        moved = movement.filled()
        if cut is None:
            cut = self.largest.cut(moved, count_of(n, rule.keep)) if rule.keep < 1 else ALL_KEPT
        until = native.behind(moved, cut.magnitude, cut.ties) if cut.ties else 0
        shares = Shares.of(rule, cut.magnitude, until)
        if isinstance(self.task, Dense):
            drawn = Drawn(self.span.start, None, None, self._noise(key))
            native.step_all(Given(moved).native(slice(0, n)), weights, self.task.values, shares, drawn)
            return
        ((task, values),) = self.task.kept
        noise = (noise_circle(CPU), key % LEVELS + self.span.start) if rule.alpha else None
        native.step_largest(moved, weights, Some.of(task.places, values.float()), shares, noise)

    def _noise(self, key: int) -> tuple[Tensor, Tensor] | None:
        return (noise_circle(CPU), starts(key, self.span)) if self.rule.alpha else None
