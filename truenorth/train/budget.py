"""How many tokens a micro-batch may have: found by running the largest one before step 0."""

import gc
from collections.abc import Callable

import torch

from ..errors import SettingsError
from ..launch import place
from ..models.memory import Bytes
from ..processes import ALONE, Group
from .resident import growth_of, memory_limit, resident_memory
from .trial import MemoryTrial

USUAL = 4096  # tokens; past it a CPU gains nothing, and a GPU starts from there
SHARE = 0.85  # of the machine's memory that a run may plan for
PER_TOKEN = ("activations", "head")  # parts that grow with a micro-batch


def find_budget(trial: MemoryTrial, *, wanted: int | None, said: Callable[[str], None], world: Group = ALONE) -> int:
    """The largest budget, of `wanted` and its halves, whose largest micro-batch fits. Never below the longest row.

    On a GPU what does not fit raises and is halved. On a CPU the kernel would kill us, so a quarter is run first, and
    its growth of resident memory is held, with what comes `later`, against this process's share of the machine's
    limit. All processes of `world` get the least of theirs. Raises SettingsError if one row alone does not fit.
    """
    longest = trial.longest
    budget = max(wanted or USUAL, longest)
    if wanted is not None and wanted < longest:
        said(f"tokens_per_micro_batch is raised from {wanted} to {longest}: the longest row has that many tokens.")
    if torch.cuda.is_available():
        return min(world.gather(_by_trying(trial, budget, said)))
    small = max(budget // 4, longest)
    fitting = min(world.gather(_by_measuring(trial, budget, said)))
    if fitting > small:
        trial(fitting)
    return fitting


def _by_trying(trial: MemoryTrial, budget: int, said: Callable[[str], None]) -> int:
    longest = trial.longest
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


def _by_measuring(trial: MemoryTrial, budget: int, said: Callable[[str], None]) -> int:
    """The largest budget that should fit, by how far a quarter of it raises resident memory. The caller tries it."""
    longest = trial.longest
    small = max(budget // 4, longest)
    before = resident_memory() + sum(trial.later.values())
    parts, growth = growth_of(lambda: trial(small))
    fixed = sum(size for part, size in parts.items() if part in ("gradients", "half copies"))
    growing = max(growth - fixed, sum(parts[part] for part in PER_TOKEN if part in parts))  # the rest of it

    def needed(tokens: int) -> float:
        return before + fixed + growing * tokens / small

    limit = int(SHARE * memory_limit() / place().local_count)
    fitting = budget
    while needed(fitting) > limit and fitting > longest:
        fitting = max(fitting // 2, longest)
    if needed(fitting) > limit:
        raise _too_long(longest)
    if fitting < budget:
        said(f"Micro-batches have {fitting} tokens, not {budget}: more would pass {limit / 1e9:.1f} GB of memory.")
    return fitting


def sentence_of(parts: Bytes, budget: int) -> str:
    """The memory plan in a line: what a step takes at most, the largest parts first.

    >>> sentence_of({"weights": 2_000_000_000, "head": 500_000_000, "references": 0}, 4096)
    'Micro-batches of 4,096 tokens. A step takes 2.5 GB of tensors: weights 2.00, head 0.50.'
    """
    if "weights" not in parts:  # sharded
        return f"Micro-batches of {budget:,} tokens."
    named = sorted(((size, part) for part, size in parts.items() if size), reverse=True)
    listed = ", ".join(f"{part} {size / 1e9:.2f}" for size, part in named)
    total = sum(size for size, _ in named) / 1e9
    return f"Micro-batches of {budget:,} tokens. A step takes {total:.1f} GB of tensors: {listed}."


def _too_long(longest: int) -> SettingsError:
    return SettingsError(
        f"one row of {longest} tokens does not fit in memory. Lower --max-length with --too-long drop or truncate, "
        "switch on --gradient-checkpointing, choose --reference cached, or train an adapter with --lora."
    )
