"""The processes of a run: joined into one group, waiting for each other, and ending together.

Alone, under plain python, there is no group and every question answers itself.
"""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from .errors import SettingsError
from .launch import Place, place
from .pulse import Pulse

T = TypeVar("T")
PATIENCE = timedelta(hours=6)  # for what one process does alone, such as tokenising; a dead one is found by its pulse
_joined = 0  # times that this process has joined a group: each meeting has its own keys


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the run's processes, this one among them. All of them must ask the same questions in the same order."""

    rank: int = 0
    size: int = 1
    handle: Any = None  # torch.distributed's; None: alone

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """`tensor` summed over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor, group=self.handle)
        return tensor

    def gather(self, value: T) -> list[T]:
        """Each process's `value`, by rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self.handle)
        return found

    def any(self, flag: bool) -> bool:
        return any(self.gather(flag))

    def first_says(self, value: T) -> T:
        """The first process's `value`, where files may look different to each."""
        return self.gather(value)[0]

    def wait(self) -> None:
        """Until all processes are here."""
        self.gather(None)

    def in_turn(self, work: Callable[[], T]) -> T:
        """`work()`, by the first process before the others: what it leaves on disk, they find."""
        done = work() if self.first else None
        self.wait()
        return cast(T, done) if self.first else work()


ALONE = Group()


@dataclass(frozen=True, slots=True)
class Processes:
    """The groups that this process belongs to."""

    world: Group = ALONE
    data: Group = ALONE  # those that train on different rows; all but under tensor parallelism


@contextmanager
def joined() -> Generator[Group]:
    """Within it, all processes that the launcher has started are one group. An error in one ends them all.

    Raises SettingsError if there are fewer GPUs than processes, ProcessError where another process has ended.
    """
    here = place()
    if dist.is_available() and dist.is_initialized():  # the caller's own, who also ends it
        yield Group(dist.get_rank(), dist.get_world_size(), dist.group.WORLD)
        return
    if here.count == 1:
        yield ALONE
        return
    pulse = _meet(here)
    world = Group(here.rank, here.count, dist.group.WORLD)
    try:
        yield world
        world.wait()
    except BaseException as error:
        pulse.failed(error)  # tells the others
        raise
    pulse.stop()
    dist.destroy_process_group()


def _meet(here: Place) -> Pulse:
    """Start torch.distributed, gloo for tensors in the machine's memory and nccl for those on GPUs."""
    global _joined
    os.environ["MASTER_ADDR"], _, os.environ["MASTER_PORT"] = here.address.rpartition(":")
    backend, device = "gloo", None
    if torch.cuda.is_available():
        if here.local_rank >= torch.cuda.device_count():
            raise SettingsError(
                f"process {here.local_rank} of this machine has no GPU: there are {torch.cuda.device_count()}. "
                "Start at most one process per GPU (--nproc-per-node), or hide them all: CUDA_VISIBLE_DEVICES=''."
            )
        backend, device = "cpu:gloo,cuda:nccl", torch.device("cuda", here.local_rank)
        torch.cuda.set_device(device)
    store: Any = next(iter(rendezvous("env://", here.rank, here.count)))[0]
    _joined += 1
    pulse = Pulse(PrefixStore(f"truenorth-{_joined}", store.clone()), here)
    group_store = PrefixStore(f"group-{_joined}", store)
    dist.init_process_group(
        backend, store=group_store, rank=here.rank, world_size=here.count, timeout=PATIENCE, device_id=device
    )
    pulse.start()
    return pulse
