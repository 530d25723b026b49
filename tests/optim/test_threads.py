"""Threads side by side give what one gives, to the bit, and leave torch's own as they were."""

import threading
from functools import partial

import pytest
import torch

from truenorth.methods.online_merging import OnDARE, OnTIES
from truenorth.optim.hfac import HFac
from truenorth.optim.merging import Merged
from truenorth.optim.threads import Spare, side_by_side
from truenorth.optim.update import AdamW, RMSprop

SHAPES = [(300, 500), (700, 200), (500,), (100, 30)]
RULES = [OnDARE(keep=0.01), OnDARE(keep=0.5), OnTIES(keep=0.01), OnTIES(keep=0.3), None]


@pytest.fixture
def threads():
    """Sets how many there are, for the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def trained(update, rule):
    draw = torch.Generator().manual_seed(0)
    named = {str(i): torch.nn.Parameter(0.02 * torch.randn(s, generator=draw)) for i, s in enumerate(SHAPES)}
    task = {name: 1e-3 * torch.randn(p.shape, generator=draw) for name, p in named.items()}
    optimizer = update.build(named.values())
    if rule is not None:
        optimizer = Merged(optimizer, rule, task, named, seed=0)
    for _ in range(3):
        for p in named.values():
            p.grad = torch.randn(p.shape, generator=draw)
        optimizer.step()
    return [p.detach() for p in named.values()]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("update", [AdamW(), RMSprop(), HFac()], ids=["adamw", "rmsprop", "hfac"])
def test_steps_in_several_threads_are_those_in_one_to_the_bit(update, rule, threads):
    found = []
    for count in (1, 3):
        threads(count)
        found.append(trained(update, rule))
        assert torch.get_num_threads() == count
    assert all(torch.equal(one, several) for one, several in zip(*found, strict=True))


def test_each_task_is_done_once_without_gradients_where_torch_has_one_thread(threads):
    threads(2)
    done, meeting = list[tuple[int, bool, int]](), threading.Barrier(2, timeout=30)

    def task(number):
        meeting.wait()  # two are at work at once, or this fails
        done.append((number, torch.is_grad_enabled(), torch.get_num_threads()))

    side_by_side([partial(task, number) for number in range(4)])
    assert sorted(done) == [(number, False, 1) for number in range(4)]


def test_a_task_that_fails_is_heard_of(threads):
    threads(2)
    with pytest.raises(ZeroDivisionError):
        side_by_side([lambda: 1 / 0, lambda: None])


def test_threads_write_to_memory_of_their_own(threads):
    threads(2)
    spare, meeting, found = Spare(), threading.Barrier(2, timeout=30), list[int]()

    def task():
        found.append(spare(4, torch.device("cpu")).data_ptr())
        meeting.wait()

    side_by_side([task, task])
    assert len(set(found)) == 2
    assert spare(3, torch.device("cpu")).data_ptr() == spare(2, torch.device("cpu")).data_ptr()
