"""Our step's share of the machine's own limit: the bare matrix products of a step, alone, over the step's time.

Counted are the products of the linear layers and of the LM head over response tokens, in bfloat16: three per weight
(forward, gradient of the input, gradient of the weight) and one more for a reference in the step. Attention's own
products and anything computed twice are not counted, so 1.0 cannot be reached.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from comparison import ALLOCATORS, SETTINGS, How, model_folder, start_ours
from torch import Tensor
from transformers import AutoConfig

WARM_UP = 2


def main() -> None:
    asked = _arguments()
    setting = SETTINGS[asked.setting]
    how = How(steps=WARM_UP + asked.repeats, allocator=asked.allocator, threads=asked.threads)
    torch.set_num_threads(asked.threads)
    config = AutoConfig.from_pretrained(model_folder(setting))
    references = 0 if setting.cached else 1
    shares: list[float] = []
    with tempfile.TemporaryDirectory(prefix="truenorth-benchmark-") as folder:
        ours = start_ours(setting, how, Path(folder))
        for step in range(how.steps):
            seconds = ours.ask("step")["seconds"]
            batches = ours.ready["batches"][step]
            bare = sum(products(config, tokens, targets, references) for tokens, targets in batches)
            if step >= WARM_UP:
                shares.append(bare / seconds)
                print(f"step {seconds:6.2f} s  bare products {bare:6.2f} s  share {bare / seconds:.2f}")
        ours.stop()
    print(f"({setting.name}) {setting.what}, allocator {how.allocator}: share {statistics.median(shares):.2f}")


def products(config: AutoConfig, tokens: int, targets: int, references: int) -> float:
    """Seconds of the matrix products of one micro-batch of `tokens` inputs and `targets` response tokens."""
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    kept = width * config.num_key_value_heads // config.num_attention_heads
    layer = [(width, width), (width, kept), (width, kept), (width, width)]
    layer += [(width, inner), (width, inner), (inner, width)]
    seconds = layers * sum(_linear(tokens, a, b, references) for a, b in layer)
    return seconds + _linear(targets, width, config.vocab_size, references)


def _linear(tokens: int, inputs: int, outputs: int, references: int) -> float:
    """Seconds of a linear layer's products: each is run once to warm up and once timed, into memory that is there."""
    x, w = torch.randn(tokens, inputs).bfloat16(), torch.randn(outputs, inputs).bfloat16()
    y = torch.empty(tokens, outputs, dtype=torch.bfloat16)
    dx, dw = torch.empty_like(x), torch.empty_like(w)
    forward = _timed(x, w.T, y)
    return forward * (1 + references) + _timed(y, w, dx) + _timed(y.T, x, dw)


def _timed(a: Tensor, b: Tensor, out: Tensor) -> float:
    torch.mm(a, b, out=out)
    began = time.perf_counter()
    torch.mm(a, b, out=out)
    return time.perf_counter() - began


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=[s for s in SETTINGS if not SETTINGS[s].lora], default="a")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--allocator", choices=list(ALLOCATORS), default="tuned")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


if __name__ == "__main__":
    main()
