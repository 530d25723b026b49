"""Shards keep the largest entries of the whole tensors. Threads stand for processes."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import pytest
import torch

from truenorth.optim.shared_largest import SharedLargest
from truenorth.weights.sparsify import count_of, keep_largest

SHAPES = {"wide": 3001, "short": 2, "one": 1, "long": 40_000}


class Table:
    """Where threads lay down what they sum."""

    def __init__(self, size):
        self.size, self.barrier, self.given, self.rounds = size, Barrier(size, timeout=20), {}, 0


@dataclass
class Thread:
    """One of a group, as `processes.Group` is."""

    rank: int
    table: Table

    @property
    def size(self):
        return self.table.size

    def sum(self, tensor):
        self.table.given[self.rank] = tensor.clone()
        self.table.barrier.wait()
        total = sum(self.table.given.values())
        self.table.barrier.wait()
        self.table.rounds += self.rank == 0
        return tensor.copy_(total)


def of_threads(size, work):
    """What each of `size` threads gets from `work(thread)`."""
    table = Table(size)
    with ThreadPoolExecutor(size) as pool:
        return table, list(pool.map(work, [Thread(rank, table) for rank in range(size)]))


def kept(steps, keep, size):
    """[step][name]: what shards of the tensors of each step keep, put together again."""

    def work(thread):
        ranking = SharedLargest({name: count_of(n, keep) for name, n in SHAPES.items()}, thread)
        found = []
        for values in steps:
            own = {name: value.tensor_split(size)[thread.rank] for name, value in values.items()}
            cuts = ranking.cuts(own)
            found.append({name: cuts[name].keep(own[name]) for name in own})
        return found

    table, parts = of_threads(size, work)
    return table.rounds, [{name: torch.cat([p[i][name] for p in parts]) for name in SHAPES} for i in range(len(steps))]


def drawn(step, *, tied=False):
    draw = torch.Generator().manual_seed(step)
    found = {name: torch.randn(n, generator=draw) * 0.9**step for name, n in SHAPES.items()}
    return {name: (value * 4).round() / 4 for name, value in found.items()} if tied else found


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("keep", [1e-4, 0.01, 0.4, 0.99])
@pytest.mark.parametrize("tied", [False, True])
def test_shards_keep_what_the_whole_keeps_step_after_step(size, keep, tied):
    steps = [drawn(step, tied=tied) for step in (0, 1, 2, 40, 3)]  # 40: far from any guess
    _, found = kept(steps, keep, size)
    for values, ours in zip(steps, found, strict=True):
        for name, value in values.items():
            assert torch.equal(ours[name], keep_largest(value, keep)), name


def test_of_equal_ones_the_first_of_the_whole_are_kept():
    steps = [{name: torch.ones(n) for name, n in SHAPES.items()}] * 2  # Adam's first step
    _, found = kept(steps, 0.4, 3)
    for name, value in found[1].items():
        assert torch.equal(value.nonzero().flatten(), torch.arange(count_of(SHAPES[name], 0.4)))


def test_five_sums_rank_any_number_of_tensors():
    rounds, _ = kept([drawn(0), drawn(1)], 0.01, 2)
    assert rounds == 2 * 5


def test_zeros_and_infinities_are_ranked_too():
    steps = [{name: torch.zeros(n) for name, n in SHAPES.items()}]
    steps[0]["long"][[7, 39_000]] = torch.tensor([torch.inf, -torch.inf])
    _, found = kept(steps, 1e-4, 2)
    assert found[0]["long"].nonzero().flatten().tolist() == [7, 39_000]
