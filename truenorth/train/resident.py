"""Memory as the operating system sees it: what this process holds, how far some work raises it, and the limit."""

import contextlib
import ctypes
import gc
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def growth_of(work: Callable[[], T]) -> tuple[T, int]:
    """What `work` gives, and the bytes by which it raised this process's resident memory at its peak.

    Freed blocks go back to the system before, or `work` would use them unseen. Where the peak cannot be set back
    (macOS, some containers), only what passes all that was held before is seen.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone keeps and trims
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")  # sets the peak to what is held now
    before = resident_memory() if STATUS.exists() else peak_memory()
    done = work()
    return done, max(0, peak_memory() - before)


def peak_memory() -> int:
    """Bytes of resident memory that this process has held at most, since the peak was last set back."""
    if STATUS.exists():
        return _status("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_memory() -> int:
    """Bytes of memory that this process holds now; where the system does not say (macOS), held at most."""
    return _status("VmRSS") if STATUS.exists() else peak_memory()


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def memory_limit() -> int:
    """Bytes that this process may use: the control group's limit where there is one, else the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if file.exists() and (limit := file.read_text().strip()).isdigit():
            return min(machine, int(limit))
    return machine
