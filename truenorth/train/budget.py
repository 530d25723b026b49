"""How many tokens a micro-batch may have: found by running the largest one before step 0."""

import gc
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from ..errors import SettingsError
from ..launch import place
from ..processes import ALONE, Group

USUAL = 4096  # tokens; past it a CPU gains nothing, and a GPU starts from there
SHARE = 0.85  # of the machine's memory that a run may plan for


def find_budget(
    trial: Callable[[int], None],
    longest: int,
    *,
    wanted: int | None,
    said: Callable[[str], None],
    world: Group = ALONE,
) -> int:
    """The largest budget, of `wanted` and its halves, whose largest micro-batch fits. Never below the longest row.

    `trial(budget)` runs the forward and backward pass of the largest micro-batch and leaves no trace. On a GPU what
    does not fit raises and is halved; on a CPU the kernel would kill us, so a quarter is run first and its growth of
    resident memory held against this process's share of the machine's limit. All processes of `world` get the least
    of theirs. Raises SettingsError if one row alone does not fit.
    """
    budget = max(wanted or USUAL, longest)
    if wanted is not None and wanted < longest:
        said(f"tokens_per_micro_batch is raised from {wanted} to {longest}: the longest row has that many tokens.")
    if torch.cuda.is_available():
        return min(world.gather(_by_trying(trial, budget, longest, said)))
    small = max(budget // 4, longest)
    fitting = min(world.gather(_by_measuring(trial, budget, longest, said)))
    if fitting > small:
        trial(fitting)
    return fitting


def _by_trying(trial: Callable[[int], None], budget: int, longest: int, said: Callable[[str], None]) -> int:
    while True:
        try:
            trial(budget)
            return budget
        except torch.cuda.OutOfMemoryError:
            gc.collect()
            torch.cuda.empty_cache()
        if budget == longest:
            raise _too_long(longest)
        said(f"A micro-batch of {budget} tokens does not fit in the GPU's memory; trying {max(budget // 2, longest)}.")
        budget = max(budget // 2, longest)


def _by_measuring(trial: Callable[[int], None], budget: int, longest: int, said: Callable[[str], None]) -> int:
    """What a quarter's growth says of the whole, which the caller then tries."""
    small = max(budget // 4, longest)
    before = peak_memory()
    trial(small)
    growth = peak_memory() - before  # bytes, activations and gradients of `small` tokens
    limit = int(SHARE * memory_limit() / place().local_count)
    fitting = budget
    while before + growth * fitting / small > limit and fitting > longest:
        fitting = max(fitting // 2, longest)
    if before + growth * fitting / small > limit:
        raise _too_long(longest)
    if fitting < budget:
        said(f"Micro-batches have {fitting} tokens, not {budget}: more would pass {limit / 1e9:.1f} GB of memory.")
    return fitting


def _too_long(longest: int) -> SettingsError:
    return SettingsError(
        f"one row of {longest} tokens does not fit in memory. Lower --max-length with --too-long drop or truncate, "
        "switch on --gradient-checkpointing, or train an adapter with --lora."
    )


def peak_memory() -> int:
    """Bytes of resident memory that this process has held at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_limit() -> int:
    """Bytes that this process may use: the control group's limit where there is one, else the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if file.exists() and (limit := file.read_text().strip()).isdigit():
            return min(machine, int(limit))
    return machine
