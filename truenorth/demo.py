"""The embedded world's SFT model, aligned offline in a minute or two, measured by the world's own oracles."""

import gzip
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from . import methods, world
from .data.chat import Encoder
from .data.packing import pack
from .data.tokens import TokenizedRow
from .evaluate.intervals import Interval, bootstrap_mean, proportion
from .evaluate.progress import Silent, Watch
from .evaluate.report import write_report
from .files import write_json
from .job import Result, align
from .models.load import load_model, load_tokenizer
from .models.logprobs import Model
from .models.policy import Policy
from .online.sampler import generate
from .online.sampling import Response, Sampling, encode

PROMPTS = 128  # requests for reviews that training never sees
DRAWN = Sampling(max_new_tokens=64, temperature=1.0)
GREEDY = Sampling(max_new_tokens=24, temperature=0.0)
# A minute on two slow cores.
SETTINGS: dict[str, Any] = {"batch_size": 32, "epochs": 2, "max_length": 256, "save_every": 8}
LEARNING_RATE = 5e-4  # of a model with a million weights; a model with a billion wants a thousandth


def demo(out: Path | None = None, watch: Watch | None = None) -> Result:
    """Align the world's SFT model towards kinder reviews (EXO on four rated answers a request), and measure it.

    The run directory is `out`, by default a fresh folder under `runs/`. Nothing is downloaded.
    """
    torch.set_num_threads(1)  # a million weights gain nothing from a second thread, and wait for it on a busy machine
    watch = watch or Silent()
    out = out or _fresh(Path("runs"))
    tokenizer = load_tokenizer(str(world.sft_model()))
    requests = _requests(PROMPTS)
    watch.stage("asking the SFT model")
    before, _ = measure(load_model(str(world.sft_model())), tokenizer, requests)
    result = align(
        methods.recipe("exo_rw", learning_rate=LEARNING_RATE),
        model=str(world.sft_model()),
        data=str(world.reviews()),
        eval_data=str(world.reviews_eval()),
        out=out,
        watch=watch,
        **SETTINGS,
    )
    if result.interrupted:
        return result
    watch.stage("asking the aligned model")
    aligned = load_model(str(out / "final"))
    after, answers = measure(aligned, tokenizer, requests)
    moved = sampled_kl(aligned, load_model(str(world.sft_model())), tokenizer, requests, answers)
    summary: dict[str, Any] = dict(result.summary) | {"base_model": "the embedded world's SFT model"}
    summary |= {"world": {"before": before, "after": after}}
    summary["evaluation"]["after"] |= _numbers("kl/sampled", moved)
    write_json(out / "summary.json", summary)
    for line in _told(summary, json.loads((out / "samples.json").read_text(encoding="utf-8"))):
        watch.said(line)
    return Result(out, write_report(out), interrupted=False, summary=summary)


def _told(summary: Mapping[str, Any], samples: Sequence[Mapping[str, str]]) -> list[str]:
    """What the oracles measured and two answers before and after, as lines for the terminal."""
    before, after = summary["world"]["before"], summary["world"]["after"]
    lines = [
        f"{name:<14}{before[name]:6.2f} -> {after[name]:5.2f}   "
        f"(95 %: {after[f'{name}/low']:.2f} to {after[f'{name}/high']:.2f}, {after[f'{name}/count']:.0f} answers)"
        for name in ("oracle reward", "grammatical", "facts right")
    ]
    moved = summary["evaluation"]["after"]["kl/sampled"]
    lines.append(f"{'moved':<14}{moved:6.2f} nats per answer from the SFT model (KL, from answers of its own)")
    for sample in samples[:2]:
        lines += [f"asked   {sample['prompt']}", f"before  {sample['before']}", f"after   {sample['after']}"]
    return lines


def measure(
    model: Model, tokenizer: PreTrainedTokenizerBase, requests: Sequence[Any]
) -> tuple[dict[str, float], list[Response]]:
    """What the oracles say of one answer to each request and of all facts, each with its 95 % interval."""
    answers = [drawn[0] for drawn in generate(model, tokenizer, prompts=requests, sampling=DRAWN)]
    rewards = [world.review_reward(request, answer.text) for request, answer in zip(requests, answers, strict=True)]
    whole = sum(world.grammatical(request, answer.text) for request, answer in zip(requests, answers, strict=True))
    facts = world.fact_questions()
    questions = [[{"role": "user", "content": fact.question}] for fact in facts]
    said = [drawn[0].text for drawn in generate(model, tokenizer, prompts=questions, sampling=GREEDY)]
    right = round(world.fact_accuracy(facts, said) * len(facts))
    return (
        _numbers("oracle reward", bootstrap_mean(rewards, seed=0))
        | _numbers("grammatical", proportion(whole, len(answers)))
        | _numbers("facts right", proportion(right, len(facts))),
        answers,
    )


def sampled_kl(
    policy: Model,
    reference: Model,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Any],
    answers: Sequence[Response],
) -> Interval:
    """KL(policy || reference) in nats per answer, from answers that the policy has drawn at temperature 1."""
    encoder = Encoder(tokenizer)
    pairs = [  # the drawn tokens, not their text again
        (np.asarray(encode(request, encoder), np.int32), np.asarray(answer.tokens, np.int32))
        for request, answer in zip(requests, answers, strict=True)
    ]
    batch = pack([TokenizedRow(p, (a,), None, {}, file="drawn", row=i, key="") for i, (p, a) in enumerate(pairs, 1)])
    with torch.no_grad():
        ours, theirs = (Policy.of(model, "float32").log_probs(batch).total[:, 0] for model in (policy, reference))
    return bootstrap_mean((ours - theirs).tolist(), seed=0)


def _requests(count: int) -> list[Any]:
    """The prompts of the first held-out rows, each as messages."""
    with gzip.open(world.reviews_eval(), "rt", encoding="utf-8") as lines:
        return [json.loads(line)["prompt"] for _, line in zip(range(count), lines, strict=False)]


def _numbers(name: str, interval: Interval) -> dict[str, float]:
    return {
        name: interval.value,
        f"{name}/low": interval.low,
        f"{name}/high": interval.high,
        f"{name}/count": float(interval.count),
    }


def _fresh(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="demo-", dir=folder))
