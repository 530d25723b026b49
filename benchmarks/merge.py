"""Seconds and memory of merging checkpoints of 2 GB on disk, against copying one of them with `cp`.

    .venv/bin/python benchmarks/merge.py [--merge linear ties] [--repeats 3] [--gigabytes 2] [--folder /tmp]

Makes a base and two models that differ from it a little, in bfloat16 and several files, in a temporary folder (five
times their size has to be free there). Each merge and each copy is a process of its own, one after the other in turns,
timed from its start until its files are on the disk.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from results import Result, append, commit, machine, now, spread
from rich.console import Console
from rich.table import Table

from truenorth.merges import merge_of
from truenorth.weights import writer
from truenorth.weights.merge import Merged, Outcome
from truenorth.weights.slices import SLICE

WIDTH, MLP, VOCABULARY = 2048, 8192, 128_256  # a Llama of 1B parameters; its embeddings are a quarter of 2 GB
LIMIT = 1.5  # GB of memory that a merge may take


def shapes(gigabytes: float) -> dict[str, tuple[int, ...]]:
    """As many layers as fit beside the embeddings."""
    layer = {
        "self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (WIDTH // 4, WIDTH),
        "self_attn.v_proj": (WIDTH // 4, WIDTH), "self_attn.o_proj": (WIDTH, WIDTH),
        "mlp.gate_proj": (MLP, WIDTH), "mlp.up_proj": (MLP, WIDTH), "mlp.down_proj": (WIDTH, MLP),
    }  # fmt: skip
    size = 2 * sum(rows * columns for rows, columns in layer.values())
    layers = max(1, round((gigabytes * 1e9 - 2 * VOCABULARY * WIDTH) / size))
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}
    for number in range(layers):
        found |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    return found


def make(folder: Path, gigabytes: float, *, noise: int) -> None:
    """A checkpoint of random weights; those of `noise` 0 are the base, others add to it, as fine-tuning does."""

    def draw(name: str, numel: int):
        base, own = (np.random.default_rng([part, crc32(name.encode())]) for part in (0, noise))
        for start in range(0, numel, SLICE):
            size = min(SLICE, numel - start)
            weights = _uniform(base, size) * 0.02
            yield weights + _uniform(own, size) * 1e-3 if noise else weights

    tensors = [
        Merged(name, shape, "BF16", lambda name=name, shape=shape: draw(name, shape[0] * shape[1]))
        for name, shape in shapes(gigabytes).items()
    ]
    writer.SHARD = 500_000_000
    writer.write_folder(Outcome(tensors, {"tie_word_embeddings": True, "dtype": "bfloat16"}, []), folder, card="")


def _uniform(rng: np.random.Generator, size: int) -> torch.Tensor:
    """Numbers between -1 and 1, of 16 random bits: several times faster than normal ones."""
    return torch.from_numpy(rng.integers(-(1 << 15), 1 << 15, size, np.int16)).float() / (1 << 15)


def merge(how: str, folder: Path, out: Path) -> list[str]:
    """The command that merges the two models, or one of them with the base."""
    made = merge_of(how)
    models = [str(folder / name) for name in ("a", "b")][: made.models[1]]
    base = ["--base", str(folder / "base")] if made.base else []
    return ["merge", how, "--models", *models, *base, "--out", str(out)]


def timed(command: Sequence[str], out: Path) -> tuple[float, float, float]:
    """Seconds until the files are on the disk, processor seconds, and the process's peak in GB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    for file in out.glob("*.safetensors"):
        with file.open("rb") as data:
            os.fsync(data.fileno())
    seconds = time.perf_counter() - start
    shutil.rmtree(out)
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def measure(how: str, folder: Path, repeats: int) -> Result:
    """A merge and a copy in turns; the first of each is not counted."""
    out, ours, theirs = folder / "out", list[tuple[float, float, float]](), list[tuple[float, float, float]]()
    for _ in range(repeats + 1):
        ours.append(timed([sys.executable, "-m", "truenorth", *merge(how, folder, out)], out))
        theirs.append(timed(["cp", "-r", str(folder / "a"), str(out)], out))
    (seconds, work, peak), (copy, copy_work, copy_peak) = (
        list(zip(*side[1:], strict=True)) for side in (ours, theirs)
    )
    size = sum(file.stat().st_size for file in (folder / "a").glob("*.safetensors")) / 1e9
    return Result(
        date=now(),
        commit=commit(),
        machine=machine(),
        versions=f"torch {version('torch')}",
        setting=f"merge {how}, models of {size:.2f} GB in bfloat16, against cp of one",
        ours=statistics.median(seconds),
        theirs=statistics.median(copy),
        ours_spread=spread(seconds),
        theirs_spread=spread(copy),
        ratio=statistics.median(copy) / statistics.median(seconds),
        work_ratio=statistics.median(copy_work) / statistics.median(work),
        ours_peak_gb=max(peak),
        theirs_peak_gb=max(copy_peak),
        repeats=repeats,
        note=f"{torch.get_num_threads()} threads; start of Python and torch included; {statistics.median(work):.0f} s "
        "of processor time",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--merge", nargs="+", default=["linear", "ties"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary folder is made")
    asked = parser.parse_args()
    table = Table("merge", "seconds", "cp, seconds", "times cp", "peak, GB", title="Merging two models on disk")
    over = list[str]()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        for noise, model in enumerate(("base", "a", "b")):
            make(folder / model, asked.gigabytes, noise=noise)
        for how in asked.merge:
            result = measure(how, folder, asked.repeats)
            append(result)
            cells = (f"{result.ours:.1f}", f"{result.theirs:.1f}", f"{1 / result.ratio:.1f}")
            table.add_row(how, *cells, f"{result.ours_peak_gb:.2f}")
            over += [how] if result.ours_peak_gb > LIMIT else []
    Console().print(table)
    if over:
        raise SystemExit(f"more than {LIMIT} GB: {', '.join(over)}")


if __name__ == "__main__":
    main()
