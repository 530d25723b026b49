"""One optimizer step, merged, against torch's fused AdamW in the same run: time by turns, ratio of medians.

python benchmarks/merging.py --parameters 32 500 --threads 1 2
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from results import Result, append, commit, machine, now, spread

from truenorth.methods.online_merging import OnDARE, OnTIES
from truenorth.optim.hfac import HFac
from truenorth.optim.merging import Merged
from truenorth.optim.rule import Rule
from truenorth.optim.update import AdamW, RMSprop, Update

WIDTH = 1024
OTHERS = 2**20  # numbers besides, so that gradients differ from step to step
WARM_UP = 3  # kernels are made in the first
CASES: dict[str, tuple[Update, Rule | None]] = {
    "ondare, keep 0.01": (AdamW(), OnDARE(keep=0.01)),
    "ondare, keep 0.01, as written": (AdamW(), OnDARE(keep=0.01, rescale="none", task_mask="fresh")),
    "ondare, keep 0.1": (AdamW(), OnDARE(keep=0.1)),
    "ondare, keep 0.5": (AdamW(), OnDARE(keep=0.5)),
    "ondare, keep 0.5, as written": (AdamW(), OnDARE(keep=0.5, rescale="none", task_mask="fresh")),
    "ondare, keep 1": (AdamW(), OnDARE(keep=1)),
    "onties, keep 0.01": (AdamW(), OnTIES(keep=0.01)),
    "onties, keep 0.3": (AdamW(), OnTIES(keep=0.3)),
    "rmsprop": (RMSprop(), None),
    "ondare, keep 0.01, around rmsprop": (RMSprop(), OnDARE(keep=0.01)),
    "ondare, keep 0.5, around rmsprop": (RMSprop(), OnDARE(keep=0.5)),
    "onties, keep 0.01, around rmsprop": (RMSprop(), OnTIES(keep=0.01)),
    "hfac": (HFac(), None),
}


def cases() -> Iterator[tuple[str, Update]]:
    """Each as torch's operations take it, and compiled, where there is something to compile."""
    for case, (update, rule) in CASES.items():
        merged = update.replace(merging=rule)
        yield case, merged
        if update.has_kernels or rule is not None:
            yield f"{case}, compiled", merged.replace(compile=True)


@dataclass(frozen=True, slots=True)
class Steps:
    """What the steps of one optimizer took: seconds, of the clock and of the processor."""

    clock: list[float]
    work: list[float]

    def take(self, optimizer: torch.optim.Optimizer) -> None:
        before, work = time.perf_counter(), time.process_time()
        optimizer.step()
        self.clock.append(time.perf_counter() - before)
        self.work.append(time.process_time() - work)


def parameters(millions: int) -> dict[str, torch.nn.Parameter]:
    """Square matrices and their biases, as in a transformer: a small tensor for each large one."""
    draw = torch.Generator().manual_seed(0)
    found = dict[str, torch.nn.Parameter]()
    for i in range(millions * 10**6 // WIDTH**2):
        found[f"{i}.weight"] = torch.nn.Parameter(torch.randn(WIDTH, WIDTH, generator=draw).mul_(0.02))
        found[f"{i}.bias"] = torch.nn.Parameter(torch.zeros(WIDTH))
    return found


def gradients(named: dict[str, torch.nn.Parameter]) -> Iterator[None]:
    """Give all parameters other gradients at each turn, or Adam's steps would be of one size."""
    numbers = torch.randn(sum(p.numel() for p in named.values()) + OTHERS).mul_(1e-3)
    step = 0
    while True:
        at = step * 7919 * 64 % OTHERS
        for parameter in named.values():
            parameter.grad = numbers[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
        step += 1
        yield


def measured(update: Update, *, millions: int, steps: int) -> tuple[Steps, Steps, float]:
    """A case's steps, those of AdamW on the same weights, and the case's state by AdamW's, in bytes."""
    named, rule = parameters(millions), update.merging
    plain, merged = AdamW().build(named.values()), update.build(named.values())
    if rule is not None:
        task = {name: torch.randn_like(p).detach().mul_(1e-3) for name, p in named.items()}
        merged = Merged(merged, rule, task, named, seed=0, by_kernels=bool(update.compile))
    ours, theirs = Steps([], []), Steps([], [])
    for _, step in zip(gradients(named), range(-WARM_UP, steps), strict=False):
        if step == 0:
            ours, theirs = Steps([], []), Steps([], [])
        theirs.take(plain)
        ours.take(merged)
    return ours, theirs, state_bytes(merged) / state_bytes(plain)


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    tensors = (x for state in optimizer.state.values() for x in state.values() if isinstance(x, torch.Tensor))
    return sum(x.nbytes for x in tensors)


def result(case: str, update: Update, millions: int, *, steps: int) -> Result:
    ours, theirs, state = measured(update, millions=millions, steps=steps)
    clock, work = statistics.median(ours.clock), statistics.median(ours.work)
    ratio, work_ratio = statistics.median(theirs.clock) / clock, statistics.median(theirs.work) / work
    return Result(
        date=now(),
        commit=commit(),
        machine=machine(),
        versions=f"torch {torch.__version__}",
        setting=f"(m) {case}: an optimizer step of {millions}M parameters",
        ours=clock,
        theirs=statistics.median(theirs.clock),
        ours_spread=spread(ours.clock),
        theirs_spread=spread(theirs.clock),
        ratio=ratio,
        work_ratio=work_ratio,
        ours_peak_gb=0.0,
        theirs_peak_gb=0.0,
        repeats=steps,
        note=f"theirs: torch's fused AdamW; ours costs {1 / ratio:.2f} times that, {1 / work_ratio:.2f} in processor "
        f"time; {torch.get_num_threads()} threads; load {os.getloadavg()[0]:.1f}; state {state:.2%} of AdamW's",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=int, nargs="+", default=[32], help="millions")
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--steps", type=int, default=15, help=f"of each, after {WARM_UP} to warm up")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    asked = parser.parse_args()
    print(f"{'':44} {'ours':>9} {'AdamW':>9} {'ratio':>7} {'of work':>7}   quartiles apart")
    for millions, threads, (case, update) in product(asked.parameters, asked.threads, cases()):
        if asked.only not in case:
            continue
        torch.set_num_threads(threads)
        row = result(case, update, millions, steps=asked.steps)
        append(row)
        print(
            f"{case:44} {1000 * row.ours:6.0f} ms {1000 * row.theirs:6.0f} ms {1 / row.ratio:6.2f}x "
            f"{1 / row.work_ratio:6.2f}x   {row.ours_spread:.0%}, {row.theirs_spread:.0%}   "
            f"{row.note.split('; ', 2)[2]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
