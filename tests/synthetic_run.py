"""Run directories made of invented numbers, for the tests of diagnosis and report."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

STEPS = 120
Metrics = dict[str, float | str]


def healthy(steps: int = STEPS, *, seed: int = 0) -> list[Metrics]:
    """A run of a pair method that ends well: loss falls, margins open, held-out accuracy rises to 71 %."""
    noise = random.Random(seed)
    records: list[Metrics] = [held_out(0, steps, noise)]
    for step in range(1, steps + 1):
        records.append(training(step, steps, noise))
        if step % (steps // 6) == 0:
            records.append(held_out(step, steps, noise))
    return records


def training(step: int, steps: int, noise: random.Random) -> Metrics:
    """One line of the training split."""
    done = learnt(step, steps)
    margin = 1.3 * done + noise.gauss(0, 0.12) * (0.1 + done)
    chosen_drift, rejected_drift = -3.0 * done, -3.0 * done - margin / 0.1
    base = noise.gauss(-118, 6)
    return {
        "step": step,
        "split": "train",
        "loss": 0.693 - 0.24 * done + noise.gauss(0, 0.025),
        "rewards/chosen": 0.1 * chosen_drift,
        "rewards/rejected": 0.1 * rejected_drift,
        "rewards/margins": margin,
        "rewards/accuracies": min(1.0, max(0.0, 0.5 + 0.25 * done + noise.gauss(0, 0.05))),
        "logps/chosen": base + chosen_drift,
        "logps/rejected": base - 4 + rejected_drift,
        "kl/initial": (chosen_drift + rejected_drift) / 2,
        "lengths/chosen": noise.gauss(96, 5),
        "lengths/rejected": noise.gauss(91, 5),
        "learning_rate": 5e-7 * min(1.0, step / 10) * (1 - step / (steps + 1)),
        "grad_norm": abs(noise.gauss(1.4, 0.25)),
        "tokens": 23_000,
        "seconds": 2.1,
        "prompts": 64,
    }


def held_out(step: int, steps: int, noise: random.Random) -> Metrics:
    """One line of the eval split: always the same rows, so little noise."""
    done = learnt(step, steps)
    accuracy = 0.54 + 0.17 * done
    return {
        "step": step,
        "split": "eval",
        "loss": 0.693 - 0.2 * done + noise.gauss(0, 0.003),
        "rewards/margins": 1.05 * done,
        "rewards/accuracies": accuracy,
        "rewards/accuracies/low": accuracy - 0.05,
        "rewards/accuracies/high": accuracy + 0.05,
        "logps/chosen": -118 - 3.2 * done,
        "logps/rejected": -122 - 13.7 * done,
        "kl/initial": -8.0 * done,
        "kl/sampled": 3.1 * done,
        "count": 400,
    }


def learnt(step: int, steps: int) -> float:
    """Share of what there is to learn, in [0, 1]."""
    return (1 - math.exp(-3.5 * step / steps)) / (1 - math.exp(-3.5))


ACCOUNT = {
    "read": 8192,
    "kept": 8034,
    "dropped": 158,
    "reasons": [
        {
            "name": "identical_answers",
            "count": 97,
            "fatal": False,
            "action": "drop",
            "example": {"file": "pairs.jsonl", "row": 1412, "text": "both answers are 'I am not sure about that.'"},
        },
        {
            "name": "too_long",
            "count": 61,
            "fatal": False,
            "action": "drop",
            "example": {"file": "pairs.jsonl", "row": 77, "text": "3,071 tokens, max_length is 2,048"},
        },
    ],
    "mapping": ["prompt ← column prompt (text)", "chosen ← column chosen (messages)", "rejected ← column rejected"],
    "lengths": {
        "prompt": {"median": 41, "95 %": 180, "longest": 640},
        "chosen": {"median": 92, "95 %": 310, "longest": 1204},
        "rejected": {"median": 88, "95 %": 322, "longest": 1498},
    },
    "length_bias": {"chosen_is_longer": 0.531, "mean_difference": 5.2},
    "sharing": {"prompts": 7810, "responses": 16068, "tokens_saved": 0.31},
}
SAMPLES = [
    {
        "prompt": "Write a two-sentence review of a small film about a lighthouse.",
        "before": "The film is about a lighthouse. It has a lighthouse in it and the lighthouse keeper keeps the "
        "lighthouse, which is a lighthouse that is kept.",
        "after": "A quiet film about patience: the keeper says little, the sea says the rest. See it on a large "
        "screen and stay for the last shot.",
        "reward_before": 0.31,
        "reward_after": 1.84,
    },
    {
        "prompt": "How many moons does Mars have?",
        "before": "Mars has four moons.",
        "after": "Mars has two moons, Phobos and Deimos.",
        "reward_before": -0.42,
        "reward_after": 1.12,
    },
    {
        "prompt": "Show me how to make text bold in HTML.",
        "before": "",
        "after": "Put it between <b> and </b>, for instance:\n\n<b>important</b>\n\nNot <script>alert('hi')</script>.",
        "reward_before": None,
        "reward_after": None,
    },
]
SUMMARY = {
    "method": "exo",
    "title": "EXO",
    "paper": "Ji et al. 2024, arXiv:2402.00856",
    "base_model": "runs/sft/final",
    "steps": STEPS,
    "prompts": 7680,
    "tokens": 2_760_000,
    "seconds": 254.0,
    "tokens_per_second": 10_866.0,
    "processes": 1,
    "trainable_parameters": 4_200_000,
    "parameters": 4_200_000,
    "device": "CPU, 2 threads",
    "precision": "float32",
    "versions": {"truenorth": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
    "step0": {"expected": 2.7620, "measured": 2.7621},
    "evaluation": {
        "before": {"accuracy": 0.54, "count": 400},
        "after": {"accuracy": 0.71, "accuracy/low": 0.664, "accuracy/high": 0.752, "count": 400},
    },
    "world": {
        "before": {
            "oracle_reward": 0.12,
            "oracle_reward/low": 0.02,
            "oracle_reward/high": 0.22,
            "facts_accuracy": 0.61,
        },
        "after": {
            "oracle_reward": 1.43,
            "oracle_reward/low": 1.31,
            "oracle_reward/high": 1.55,
            "facts_accuracy": 0.64,
        },
    },
    "citations": [
        {
            "title": "Towards Efficient Exact Optimization of Language Model Alignment",
            "authors": "Ji et al.",
            "arxiv": "2402.00856",
        },
        "Rafailov et al. Direct Preference Optimization. arXiv:2305.18290",
    ],
    "notes": ["Step 0 was checked: the loss is what theory gives for EXO at policy = reference."],
}
SETTINGS = """\
recipe:
  method: exo
  objective: {kind: exo, beta: 0.1, epsilon: 0.001}
  references: {initial: {kind: cached, path: null}}
  update: {kind: adamw, learning_rate: 5.0e-7, warmup_steps: 10, decay: linear, max_grad_norm: 1.0,
    betas: [0.9, 0.999], epsilon: 1.0e-8, weight_decay: 0.0}
run:
  model: runs/sft/final
  data: [{path: pairs.jsonl, share: 1.0}]
  out: runs/exo
  eval_data: [{path: held_out.jsonl, share: 1.0}]
  seed: 0
  epochs: 1.0
  max_steps: null
  batch_size: 64
  max_length: 2048
  too_long: drop
  precision: auto
  lora: null
"""


def write_run(directory: Path, records: Sequence[Metrics] | None = None) -> Path:
    """A whole run directory, with every optional file."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "run.yaml").write_text(SETTINGS)
    lines = [json.dumps(record) + "\n" for record in (healthy() if records is None else records)]
    (directory / "metrics.jsonl").write_text("".join(lines))
    for name, content in (("account", ACCOUNT), ("samples", SAMPLES), ("summary", SUMMARY)):
        (directory / f"{name}.json").write_text(json.dumps(content))
    return directory


def ill(steps: int = STEPS, *, seed: int = 1) -> list[Metrics]:
    """A run at ten times the learning rate: both responses fall, pairs are memorized, held-out accuracy turns back."""
    records = healthy(steps, seed=seed)
    for record in records:
        step = float(record["step"])
        done = learnt(int(step), steps)
        early = 1 - math.exp(-12 * step / steps)
        for name, fall in (("logps/chosen", 70.0), ("logps/rejected", 90.0)):
            record[name] = float(record[name]) - fall * done
        if record["split"] == "train":
            record["rewards/accuracies"] = 0.5 + 0.5 * early
            record["loss"] = 0.693 * (1 - early) + 0.001 * step / steps
            record["grad_norm"] = 1.2 if step % 20 else 60.0
        else:
            turned = 0.7 - 0.16 * max(0.0, step / steps - 0.35) if step else 0.54
            record |= {
                f"rewards/accuracies{end}": turned + by for end, by in (("", 0), ("/low", -0.05), ("/high", 0.05))
            }
            record["kl/sampled"] = 90.0 * done
    return records
