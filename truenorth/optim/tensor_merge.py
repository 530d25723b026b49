"""One parameter's step merged with its task vector: what the optimizer would move it by, thinned out, and the pull.

An update of 1e-10 is lost in a float32 weight of 0.02, whose neighbours lie 2e-9 apart. So where a task vector is
added, the sum is rounded up or down by chance, in proportion, and arrives on average.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..weights.sparsify import Cut, count_of
from .draws import BLOCK, PIECE, Kept, blocks, mask, noise, noise_at, places, three
from .largest import Largest
from .movement import Movement
from .rounding import add, nearly_zero
from .rule import Rule
from .task_vector import SPARSE, Dense, Sparse


class TensorMerge:
    """Merges the steps of one parameter, of which it holds the entries at `span`."""

    def __init__(self, rule: Rule, span: range, task: Dense | Sparse) -> None:
        self.rule, self.span, self.task = rule, span, task
        self.largest = Largest()

    def __call__(self, weights: Tensor, movement: Movement, key: int, cut: Cut | None = None) -> None:
        """Move `weights` [n]. The key is of this merge and this parameter.

        `cut`: where the movement's largest entries begin, if these entries alone do not tell.
        """
        few = self.rule.keep <= SPARSE
        if self.rule.selection == "drawn":
            (self._few_drawn if few else self._drawn)(weights, movement, key)
        else:
            (self._few_largest if few else self._largest)(weights, movement, key, cut)

    def _few_drawn(self, weights: Tensor, movement: Movement, key: int) -> None:
        """Update and pull one after the other, as a rule that draws is linear; only kept entries are touched."""
        (of_update, of_task), (own, others, rounding) = self.rule.shares, three(key)
        pulls = self.few_of_task(others) if of_task else None
        for kept in places(own, self.span, self.rule.keep, weights.device):
            update = movement.few(kept.within, kept.places)
            block = weights[kept.within].index_add_(0, kept.places, update, alpha=of_update)
            if pulls is not None:  # while the weights are in the cache
                at, task = next(pulls)
                pulled = block.index_select(0, at.places)
                drawn = noise(rounding + at.key, 0, slice(0, pulled.numel()), weights)
                block.index_copy_(0, at.places, add(pulled, task * of_task, drawn, nearly_zero(weights.device)))

    def few_of_task(self, key: int) -> Iterator[tuple[Kept, Tensor]]:
        """Piece by piece, float32."""
        if isinstance(self.task, Sparse):
            yield from ((kept, values.float()) for kept, values in self.task.kept)
            return
        values = self.task.values
        for kept in places(key, self.span, self.rule.keep, values.device):
            yield kept, values[kept.within].index_select(0, kept.places).float()

    def _drawn(self, weights: Tensor, movement: Movement, key: int) -> None:
        assert isinstance(self.task, Dense)
        rule, (own, others, rounding) = self.rule, three(key)
        for _, within, _ in blocks(self.span, PIECE):
            moved, piece, tasks = movement.at(within), weights[within], self.task.at(within)
            for block, part, drawn in blocks(self.span[within], BLOCK):
                update, task = moved[part], tasks[part]
                if rule.keep < 1:
                    update.mul_(mask(own, block, drawn, weights, share=rule.keep))
                    if rule.fresh:
                        task = task * mask(others, block, drawn, weights, share=rule.keep)
                self._move(piece[part], rule.combined(update, task), rounding, block, drawn)

    def _largest(self, weights: Tensor, movement: Movement, key: int, cut: Cut | None) -> None:
        assert isinstance(self.task, Dense)
        rule, n = self.rule, weights.numel()
        moved = movement.at(slice(0, n))
        if cut is None and rule.keep < 1:
            cut = self.largest.cut(moved, count_of(n, rule.keep))
        for block, within, drawn in blocks(self.span, BLOCK):
            update = moved[within] if cut is None else cut.keep(moved[within])
            self._move(weights[within], rule.combined(update, self.task.at(within)), key, block, drawn)

    def _few_largest(self, weights: Tensor, movement: Movement, key: int, cut: Cut | None) -> None:
        """Only entries are touched that are kept of the update or of the task vector."""
        assert isinstance(self.task, Sparse)
        ((task, values),) = self.task.kept
        moved = movement.at(slice(0, weights.numel()))
        if cut is None:
            own = self.largest.places(moved, count_of(weights.numel(), self.rule.keep))
        else:
            own = cut.largest(moved).nonzero().flatten()
        kept = torch.zeros(weights.numel(), dtype=torch.bool, device=weights.device)
        kept[own] = True
        of_task = moved.index_select(0, task.places).mul_(kept[task.places])
        kept[task.places] = False
        alone = own[kept[own]]
        places = torch.cat([task.places, alone])
        update = torch.cat([of_task, moved.index_select(0, alone)])
        by = self.rule.combined(update, torch.cat([values.float(), torch.zeros_like(update[len(values) :])]))
        merged = weights.index_select(0, places)
        if self.rule.alpha:
            add(merged, by, noise_at(key, places + self.span.start), nearly_zero(weights.device))
        else:
            merged.add_(by)
        weights.index_copy_(0, places, merged)

    def _move(self, weights: Tensor, by: Tensor, key: int, block: int, drawn: slice) -> None:
        if self.rule.alpha:
            add(weights, by, noise(key, block, drawn, weights), nearly_zero(weights.device))
        else:
            weights.add_(by)
