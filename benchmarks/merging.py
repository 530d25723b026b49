"""One optimizer step, merged, against torch's fused AdamW in the same run: time by turns, ratio of medians.

python benchmarks/merging.py --parameters 32 --threads 2
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch

from truenorth.methods.online_merging import OnDARE, OnTIES
from truenorth.optim.hfac import HFac
from truenorth.optim.merging import Merged
from truenorth.optim.rule import Rule
from truenorth.optim.update import AdamW, RMSprop, Update

WIDTH = 1024
CASES: dict[str, tuple[Update, Rule | None]] = {
    "ondare, keep 0.01": (AdamW(), OnDARE(keep=0.01)),
    "ondare, keep 0.01, as written": (AdamW(), OnDARE(keep=0.01, rescale="none", task_mask="fresh")),
    "ondare, keep 0.5": (AdamW(), OnDARE(keep=0.5)),
    "ondare, keep 1": (AdamW(), OnDARE(keep=1)),
    "onties, keep 0.01": (AdamW(), OnTIES(keep=0.01)),
    "onties, keep 0.3": (AdamW(), OnTIES(keep=0.3)),
    "ondare, keep 0.01, around rmsprop": (RMSprop(), OnDARE(keep=0.01)),
    "hfac": (HFac(), None),
}


def parameters(millions: int) -> dict[str, torch.nn.Parameter]:
    """Square matrices and their biases, as in a transformer: a small tensor for each large one."""
    count = millions * 10**6 // WIDTH**2
    draw = torch.Generator().manual_seed(0)
    found = {f"{i}.weight": 0.02 * torch.randn(WIDTH, WIDTH, generator=draw) for i in range(count)}
    found |= {f"{i}.bias": torch.zeros(WIDTH) for i in range(count)}
    return {name: torch.nn.Parameter(tensor) for name, tensor in found.items()}


def stepper(update: Update, rule: Rule | None, millions: int) -> Callable[[], float]:
    """Takes a step and gives its seconds. Gradients vary, or all of Adam's steps would be of one size."""
    named = parameters(millions)
    gradients = [[1e-3 * torch.randn_like(p).detach() for p in named.values()] for _ in range(2)]
    optimizer = update.build(named.values())
    if rule is not None:
        task = {name: 1e-3 * torch.randn_like(p).detach() for name, p in named.items()}
        optimizer = Merged(optimizer, rule, task, named, seed=0)

    def step() -> float:
        gradients.reverse()
        for parameter, gradient in zip(named.values(), gradients[0], strict=True):
            parameter.grad = gradient
        start = time.perf_counter()
        optimizer.step()
        return time.perf_counter() - start

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=int, default=32, help="millions")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=9, help="of each, after three to warm up")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"{asked.parameters} million parameters, {asked.threads} threads, load {os.getloadavg()[0]:.1f}")
    for name, (update, rule) in CASES.items():
        if asked.only not in name:
            continue
        plain, merged = (stepper(*of, asked.parameters) for of in ((AdamW(), None), (update, rule)))
        pairs = [(plain(), merged()) for _ in range(asked.steps + 3)][3:]
        ours, theirs = (statistics.median(times) for times in zip(*((m, p) for p, m in pairs), strict=True))
        spread = sorted(m / p for p, m in pairs)
        print(
            f"{name:36} {1000 * ours:7.0f} ms   AdamW {1000 * theirs:5.0f} ms   {ours / theirs:5.2f}x"
            f"   ({spread[0]:.2f} to {spread[-1]:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
