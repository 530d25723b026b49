"""One parameter's merged step by kernels, which draw what `TensorMerge` does."""

from torch import Tensor

from ..weights.sparsify import Cut
from . import draws, kernels
from .draws import runs, three
from .kernels import Drawn, kernel
from .movement import Movement
from .rounding import nearly_zero
from .rule import Rule
from .task_vector import SPARSE, Dense, Sparse
from .tensor_merge import TensorMerge


class KernelMerge:
    """Merges the steps of one parameter, of which it holds the entries at `span`."""

    def __init__(self, rule: Rule, span: range, task: Dense | Sparse) -> None:
        self.rule, self.span, self.task = rule, span, task
        self.plain = TensorMerge(rule, span, task)

    def __call__(self, weights: Tensor, movement: Movement, key: int, cut: Cut | None = None) -> None:
        """As `TensorMerge`, of what is drawn: there is no `cut`."""
        assert cut is None
        weights = weights.detach()  # of a view, torch.compile asks what it is of, and whether that takes gradients
        (self._few_drawn if self.rule.keep <= SPARSE else self._drawn)(weights, movement, key)

    def _few_drawn(self, weights: Tensor, movement: Movement, key: int) -> None:
        """The update is computed of all entries: that takes less long than to gather some of them."""
        (of_update, of_task), (own, others, rounding) = self.rule.shares, three(key)
        pulls = self.plain.few_of_task(others) if of_task else None
        for within, kept in draws.flags(own, self.span, self.rule.keep, weights.device):
            block = weights[within]
            kernel(kernels.step_kept)(movement.at(within), of_update, block, kept)
            if pulls is not None:
                at, task = next(pulls)
                drawn = draws.noise(rounding + at.key, 0, slice(0, len(task)), weights)
                kernel(kernels.pull_some)(of_task, block, at.places, task, (drawn, nearly_zero(weights.device)))

    def _drawn(self, weights: Tensor, movement: Movement, key: int) -> None:
        assert isinstance(self.task, Dense)
        rule, device, (own, others, rounding) = self.rule, weights.device, three(key)
        for run in runs(self.span):
            of_update = of_task = rounded = None
            if rule.keep < 1:
                circle = draws.mask_circle(rule.keep, device)
                of_update = Drawn(circle, run.starts(own, device))
                of_task = Drawn(circle, run.starts(others, device)) if rule.fresh else None
            if rule.alpha:
                rounded = (Drawn(draws.noise_circle(device), run.starts(rounding, device)), nearly_zero(device))
            count = len(run.blocks)
            all_three = (weights[run.within], movement.at(run.within), self.task.values[run.within])
            weights_, update, task = (part.view(count, -1) for part in all_three)
            kernel(kernels.step_all)(rule, (weights_, update, task), (of_update, of_task), rounded)
