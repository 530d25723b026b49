"""Which entries are the largest of tensors that several processes share out: exactly those that one alone would find.

Each round of messages takes its time, however short they are. So many tensors are ranked at once, in five rounds: how
many magnitudes lie above and within a guess; three times, how many of those have the next bits of the whole number
that orders a float32 magnitude; and who holds those that equal the least.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..processes import Group
from ..weights.sparsify import Cut
from .largest import Trend, between, cut_at

DIGITS = ((20, 11), (10, 10), (0, 10))  # of 31 bits: where each digit begins, and how many it has


class SharedLargest:
    """The largest entries of tensors, by name.

    What it remembers of earlier steps makes it faster, and is the same in every process. What it finds does not
    depend on it.
    """

    def __init__(self, counts: Mapping[str, int], group: Group) -> None:
        """`counts`: how many entries of each whole tensor are sought."""
        self.counts, self.group = counts, group
        self.trends = {name: Trend() for name in counts}

    def cuts(self, values: Mapping[str, Tensor]) -> dict[str, Cut]:
        """Where the largest magnitudes of some of the tensors begin, `values` [n] being this process's entries.

        Processes must ask for the same tensors in one order, also where they hold no entry of one.
        """
        parts = list(values.items())
        found = [between(part, *(self.trends[name].near() or (0.0, math.inf))) for name, part in parts]
        sizes = torch.tensor([[above, near.numel()] for above, near in found], device=parts[0][1].device)
        near, wanted = list[Tensor](), list[int]()
        for (name, part), (_, own), (above, size) in zip(parts, found, self.group.sum(sizes).tolist(), strict=True):
            right = 0 < self.counts[name] - above <= size
            near.append(own if right else part.abs())
            wanted.append(self.counts[name] - above if right else self.counts[name])
        cuts = _ranked(near, torch.tensor(wanted, device=sizes.device), self.group)
        for name, (least, _) in zip(values, cuts, strict=True):
            self.trends[name].learn(least)
        return {name: cut for name, (_, cut) in zip(values, cuts, strict=True)}


def _ranked(parts: Sequence[Tensor], wanted: Tensor, group: Group) -> list[tuple[float, Cut]]:
    """Of tensors of magnitudes the `wanted`-th largest, and which entries of this process's `parts` are as large.

    `wanted` [N] counts entries of the whole tensors, from 1 up.
    """
    bits = [part.view(torch.int32) for part in parts]
    least = torch.zeros_like(wanted)
    for shift, length in DIGITS:
        digits = [(part >> shift) & (1 << length) - 1 for part in bits]
        numbers = group.sum(torch.stack([torch.bincount(part, minlength=1 << length) for part in digits]))  # [N, 2^l]
        at_least = numbers.flip(1).cumsum(1).flip(1)
        digit = (at_least >= wanted[:, None]).sum(1) - 1
        wanted = wanted - (at_least - numbers).gather(1, digit[:, None])[:, 0]  # less those with a larger digit
        bits = [part[own == chosen] for part, own, chosen in zip(bits, digits, digit, strict=True)]
        least = least << length | digit
    equal = torch.zeros(group.size, len(parts), dtype=torch.int64, device=wanted.device)
    equal[group.rank] = torch.tensor([part.numel() for part in bits])
    group.sum(equal)
    taken = (wanted - equal[: group.rank].sum(0)).clamp(min=0)  # of this process's: the first in order are taken
    magnitudes = least.to(torch.int32).view(torch.float32).tolist()
    return [
        (magnitude, cut_at(magnitude, ties=ties, equal=own))
        for magnitude, ties, own in zip(magnitudes, taken.tolist(), equal[group.rank].tolist(), strict=True)
    ]
