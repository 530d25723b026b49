"""Tensors worked on side by side by a CPU's threads.

torch would give each thread a slice of every call, and a piece that fits in the cache is too small for that: most of
the time would go into handing out.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier, get_ident

import torch
from torch import Tensor


def side_by_side(tasks: Sequence[Callable[[], object]], *, in_turn: bool = False) -> None:
    """Do all, without gradients, in as many threads as torch has. They must not depend on each other.

    `in_turn`: one after the other, each with all of torch's threads.
    """
    if in_turn or min(torch.get_num_threads(), len(tasks)) < 2:
        for task in tasks:
            task()
        return
    for _ in _threads(torch.get_num_threads(), os.getpid()).map(_done, tasks):
        pass


@torch.no_grad()  # of a thread, so the caller's does not reach here
def _done(task: Callable[[], object]) -> None:
    task()


@cache
def _threads(count: int, _: int) -> ThreadPoolExecutor:
    """Threads of a process, in each of which torch has only itself."""
    started = Barrier(count + 1)

    def start() -> None:
        torch.get_num_threads()  # a thread that has not asked takes over, at its first operation, what others have set
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="optimizer", initializer=start)
    for _ in range(count):
        pool.submit(int)  # a thread starts when there is something to do
    started.wait()
    torch.set_num_threads(count)  # threads set what those to come begin with, too
    return pool


class Spare:
    """Memory for each thread to write to, kept: what is new takes longer to touch than to compute with."""

    def __init__(self) -> None:
        self._of = dict[int, Tensor]()

    def __call__(self, entries: int, device: torch.device) -> Tensor:
        """[at least `entries`] float32."""
        kept = self._of.get(thread := get_ident())
        if kept is None or len(kept) < entries or kept.device != device:
            kept = self._of[thread] = torch.empty(entries, device=device)
        return kept
