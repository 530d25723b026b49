"""One parameter's merged step by kernels, which draw what `TensorMerge` does."""

import torch
from torch import Tensor

from ..weights.sparsify import Cut, count_of
from . import draws, kernels
from .draws import Run, runs, three
from .kernels import Drawn, kernel
from .movement import NONE, Given, Movement
from .rounding import nearly_zero
from .rule import Rule
from .task_vector import SPARSE, Dense, Sparse
from .tensor_merge import TensorMerge
from .threads import Spare

WHOLE = Spare()  # for a task vector of which few entries are kept


class KernelMerge:
    """Merges the steps of one parameter, of which it holds the entries at `span`."""

    def __init__(self, rule: Rule, span: range, task: Dense | Sparse) -> None:
        self.rule, self.span, self.task = rule, span, task
        self.plain = TensorMerge(rule, span, task)

    def __call__(self, weights: Tensor, movement: Movement, key: int, cut: Cut | None = None) -> None:
        """As `TensorMerge`."""
        weights = weights.detach()  # of a view, torch.compile asks what it is of, and whether that takes gradients
        if self.rule.selection == "drawn":
            (self._few_drawn if self.rule.keep <= SPARSE else self._drawn)(weights, movement, key)
        else:
            self._largest(weights, movement, key, cut)

    def _few_drawn(self, weights: Tensor, movement: Movement, key: int) -> None:
        """The update is computed of all entries: that takes less long than to gather some of them."""
        (of_update, of_task), (own, others, rounding) = self.rule.shares, three(key)
        pulls = self.plain.few_of_task(others) if of_task else None
        for within, kept in draws.flags(own, self.span, self.rule.keep, weights.device):
            block = weights[within]
            kernel(kernels.step_kept)(movement.formula(within), of_update, block, kept)
            if pulls is not None:
                at, task = next(pulls)
                drawn = draws.noise(rounding + at.key, 0, slice(0, len(task)), weights)
                kernel(kernels.pull_some)(of_task, block, at.places, task, (drawn, nearly_zero(weights.device)))

    def _drawn(self, weights: Tensor, movement: Movement, key: int) -> None:
        assert isinstance(self.task, Dense)
        rule, (own, others, rounding) = self.rule, three(key)
        for run in runs(self.span):
            of_update = of_task = None
            if rule.keep < 1:
                circle = draws.mask_circle(rule.keep, weights.device)
                of_update = Drawn(circle, run.starts(own, circle.device))
                of_task = Drawn(circle, run.starts(others, circle.device)) if rule.fresh else None
            self._step(weights, self.task.values, movement.formula(run.within), run, (of_update, of_task), rounding)

    def _largest(self, weights: Tensor, movement: Movement, key: int, cut: Cut | None) -> None:
        n, found = len(weights), cut
        moved = movement.at(slice(0, n))
        if cut is None and self.rule.keep < 1:
            found = self.plain.largest.cut(moved, count_of(n, self.rule.keep))
        if found is not None and found.ties:  # to count those in order takes longer than all else
            self.plain(weights, Given(moved), key, cut)
            return
        task = self._whole_task()
        for run in runs(self.span):
            self._step(weights, task, _largest_of(moved[run.within], found), run, (None, None), key)

    def _step(
        self,
        weights: Tensor,
        task: Tensor,
        movement: kernels.Movement,
        run: Run,
        kept: tuple[Drawn | None, Drawn | None],
        key: int,
    ) -> None:
        circle, count = draws.noise_circle(weights.device), len(run.blocks)
        # Few largest entries are rounded by noise of their places, which goes around once a block.
        starts = run.starts(key, circle.device, alike=self.rule.selection == "largest" and self.rule.keep <= SPARSE)
        rounding = (Drawn(circle, starts), nearly_zero(circle.device)) if self.rule.alpha else None
        rows = (weights[run.within].view(count, -1), task[run.within].view(count, -1))
        kernel(kernels.step_all)(self.rule, movement.in_rows(count), rows, kept, rounding)

    def _whole_task(self) -> Tensor:
        """[n] the task vector, zero where it is not kept; where few entries are, it holds until the next one."""
        if isinstance(self.task, Dense):
            return self.task.values
        ((kept, values),) = self.task.kept
        task = WHOLE(len(self.span), values.device)[: len(self.span)].zero_()
        return task.index_copy_(0, kept.places, values.float())


def _largest_of(moved: Tensor, cut: Cut | None) -> kernels.Movement:
    if cut is None:
        return kernels.Movement(kernels.given, (moved,), NONE)
    return kernels.Movement(kernels.above, (moved,), torch.tensor(cut.magnitude))
