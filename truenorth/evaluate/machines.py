"""What a plan may run on: kinds of GPU by their makers' figures, and the processor at hand by measuring it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from ..errors import SettingsError, did_you_mean
from ..models.policy import Precision
from ..train.resident import memory_limit

GB = 10**9
NVLINK_GPUS = 8  # to a machine: past them, the network


@dataclass(frozen=True, slots=True)
class Machine:
    """One device, and how its likes are joined."""

    name: str
    memory: int  # bytes
    rate: float  # FLOP/s of large matrix products in bfloat16; 0: not known yet
    bandwidth: float  # bytes/s that it reads of its memory; 0: not known yet
    link: float  # bytes/s each way between devices of one machine
    network: float  # bytes/s each way and device between machines
    source: str
    gpu: bool = True

    def between(self, count: int) -> float:
        """Bytes/s each way between `count` of them."""
        return self.link if count <= NVLINK_GPUS else self.network


# Rates are dense, without structured sparsity; where a data sheet gives only the sparse rate it is halved. The network
# is that of the maker's reference machine: one adapter of 200 or 400 Gbit/s for each GPU.
GPUS: Mapping[str, Machine] = {
    "l4": Machine("L4", 24 * GB, 121e12, 300e9, 32e9, 12.5e9, "NVIDIA L4 data sheet, 2023"),
    "a10": Machine("A10", 24 * GB, 125e12, 600e9, 32e9, 12.5e9, "NVIDIA A10 data sheet, 2021"),
    "rtx4090": Machine("RTX 4090", 24 * GB, 165e12, 1008e9, 32e9, 12.5e9, "NVIDIA Ada architecture white paper, 2022"),
    "l40s": Machine("L40S", 48 * GB, 362e12, 864e9, 32e9, 25e9, "NVIDIA L40S data sheet, 2023"),
    "a100-40": Machine("A100 40 GB", 40 * GB, 312e12, 1555e9, 300e9, 25e9, "NVIDIA A100 data sheet, 2020"),
    "a100": Machine("A100 80 GB", 80 * GB, 312e12, 2039e9, 300e9, 25e9, "NVIDIA A100 data sheet, 2021"),
    "h100": Machine("H100 SXM", 80 * GB, 989e12, 3350e9, 450e9, 50e9, "NVIDIA H100 data sheet, 2022; DGX H100"),
    "h200": Machine("H200 SXM", 141 * GB, 989e12, 4800e9, 450e9, 50e9, "NVIDIA H200 data sheet, 2023; DGX H200"),
    "b200": Machine("B200", 180 * GB, 2250e12, 8000e9, 900e9, 50e9, "NVIDIA DGX B200 data sheet, 2024"),
}


def gpu(kind: str) -> Machine:
    """The figures of a kind of GPU. Raises SettingsError for one that is not in the table.

    >>> gpu("H100").memory
    80000000000
    """
    if (found := GPUS.get(kind.lower())) is None:
        hint = did_you_mean(kind.lower(), GPUS)
        raise SettingsError(
            f"no GPU kind {kind!r} is known.{hint} Allowed: {', '.join(GPUS)}. Without --gpu it is this CPU."
        )
    return found


def this_processor() -> Machine:
    """The processor at hand and the memory that this process may use. Processes share both."""
    return Machine("this CPU", memory_limit(), 0.0, 0.0, 10e9, 1e9, "as found", gpu=False)


def measured_rate(precision: Precision, seconds: float = 1.0) -> float:
    """FLOP/s of matrix products of this processor, the size of a layer's, as the median over about `seconds`."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = torch.ones(2048, 1024, dtype=dtype), torch.ones(1024, 2048, dtype=dtype)
    out = a @ b
    return 2 * a.shape[0] * a.shape[1] * b.shape[1] / _median_time(lambda: torch.mm(a, b, out=out), seconds)


def measured_bandwidth(seconds: float = 0.2) -> float:
    """Bytes/s of this processor's memory: a matrix larger than its caches times a vector, the median."""
    matrix, vector = torch.ones(4096, 4096), torch.ones(4096)
    return matrix.nbytes / _median_time(lambda: torch.mv(matrix, vector), seconds)


def _median_time(work: Callable[[], object], seconds: float) -> float:
    """Seconds of `work`, done again and again for about so many."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(took) < 3:
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return sorted(took)[len(took) // 2]
