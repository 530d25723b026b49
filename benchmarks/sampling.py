"""K answers to 256 prompts of the embedded world, against transformers' `generate` prompt by prompt, by turns.

python benchmarks/sampling.py --k 4 --threads 2
"""

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import chain, islice
from typing import Any

import torch
from results import Result, append, commit, machine, now, spread

from truenorth import world
from truenorth.data.chat import Encoder
from truenorth.models.load import load_model, load_tokenizer
from truenorth.models.logprobs import base_of
from truenorth.online.sampler import generate
from truenorth.online.sampling import Sampling, encode

SFT = str(world.sft_model())
LONGEST = 96  # tokens of an answer; those of the SFT model end by the 60th
Timed = tuple[float, float, int]  # seconds, of the processor, tokens drawn


def prompts(count: int, tokenizer: Any) -> list[list[int]]:
    """Requests for reviews, letters and tales in turn, as token ids."""
    files = (world.reviews(), world.letters(), world.tales())
    rows = [map(json.loads, gzip.decompress(file.read_bytes()).splitlines()) for file in files]
    encoder = Encoder(tokenizer)
    return [encode(row["prompt"], encoder) for row in islice(chain.from_iterable(zip(*rows, strict=False)), count)]


def theirs(model: Any, asked: list[list[int]], *, k: int, sample: bool) -> list[list[int]]:
    """[prompts * k] new tokens: one call of `generate` a prompt, which draws its k answers in one batch."""
    how: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "num_return_sequences": k} if sample else {}
    found: list[list[int]] = []
    for prompt in asked:
        ids = torch.tensor([prompt])
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=sample, max_new_tokens=LONGEST, **how
        )
        found += [_ended(row, model.generation_config.eos_token_id) for row in out[:, len(prompt) :].tolist()]
    return found


def _ended(tokens: list[int], eos: int) -> list[int]:
    return tokens[: tokens.index(eos) + 1] if eos in tokens else tokens


def timed(draw: Callable[[], list[list[int]]]) -> Timed:
    start, work = time.perf_counter(), time.process_time()
    drawn = draw()
    return time.perf_counter() - start, time.process_time() - work, sum(map(len, drawn))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("prompts", 256), ("peer_prompts", 32), ("k", 4), ("threads", 2), ("repeats", 5)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--ours", action="store_true", help="ours alone, for a profile; nothing is recorded")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    model, tokenizer = load_model(SFT), load_tokenizer(SFT)
    base, tokens = base_of(model), prompts(asked.prompts, tokenizer)
    part = tokens[:: len(tokens) // min(asked.peer_prompts, len(tokens))]  # its time is a sum over prompts
    share = len(tokens) / len(part)

    def ours(sampling: Sampling) -> list[list[int]]:
        drawn = generate(model, tokenizer, prompts=tokens, sampling=sampling)
        return [list(answer.tokens) for own in drawn for answer in own]

    greedy = Sampling(max_new_tokens=LONGEST, temperature=0)
    few = min(32, len(tokens))
    agree = sum(a == b for a, b in zip(ours(greedy), theirs(base, tokens[:few], k=1, sample=False), strict=False))
    print(f"the likeliest tokens are the same in {agree} of {few} answers")
    pairs: list[tuple[Timed, Timed]] = []
    for seed in range(asked.repeats):
        mine = timed(lambda seed=seed: ours(Sampling(max_new_tokens=LONGEST, k=asked.k, seed=seed)))
        other = mine if asked.ours else timed(lambda: theirs(base, part, k=asked.k, sample=True))
        other = (other[0] * share, other[1] * share, round(other[2] * share)) if not asked.ours else other
        pairs.append((mine, other))
        print(
            f"ours {mine[0]:.2f} s, {mine[2]} tokens; prompt by prompt {other[0]:.2f} s, {other[2]} tokens", flush=True
        )
    if not asked.ours:
        record(pairs, asked)


def record(pairs: list[tuple[Timed, Timed]], asked: argparse.Namespace) -> None:
    """Print the ratio of medians, and add it to results.csv."""
    (a, work_a, tokens_a), (b, work_b, tokens_b) = (list(zip(*side, strict=True)) for side in zip(*pairs, strict=True))
    median = statistics.median
    ratio, work = median(b) / median(a), median(work_b) / median(work_a)
    print(f"{ratio:.2f}x as fast; {work:.2f}x of processor time; {median(tokens_a) / median(a):.0f} tokens a second")
    append(
        Result(
            date=now(), commit=commit(), machine=machine(),
            versions=f"transformers {version('transformers')} torch {version('torch')}",
            setting=f"sampling: {asked.k} answers to {asked.prompts} prompts, the world's SFT model",
            ours=median(a), theirs=median(b), ours_spread=spread(a), theirs_spread=spread(b),
            ratio=ratio, work_ratio=work, ours_peak_gb=0.0, theirs_peak_gb=0.0, repeats=len(pairs),
            note=f"{asked.threads} threads; seconds; {median(tokens_a):.0f} and {median(tokens_b):.0f} tokens; "
            f"theirs: generate prompt by prompt, its k answers in one batch, from {asked.peer_prompts} of the prompts",
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
