"""What `truenorth plan` says against what a run takes: the plan, and then three real steps, each in a fresh process.

On a CPU the peak is that of resident memory from the trial of the largest micro-batch on. On a GPU (`--gpu h100`) it
is that of torch's allocator, without the context. Exits with 1 where a plan is off by more than 15 %.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import model
import rows
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
ALLOWED = 0.15
SHAPES: Mapping[str, Mapping[str, int]] = {
    "33M": {},
    "66M wide": {"hidden_size": 1024, "intermediate_size": 2752, "num_hidden_layers": 4, "num_key_value_heads": 4},
    "15M deep": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 14, "num_key_value_heads": 2},
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the table."""

    model: str = "33M"
    answers: int = 2
    precision: str = "bfloat16"
    batch_size: int = 32
    flags: Mapping[str, object] = field(default_factory=dict[str, object])  # of the command line

    @property
    def method(self) -> str:
        return "dpo" if self.answers == 2 else "sdpo"  # sdpo takes any number

    def __str__(self) -> str:
        flags = " ".join(f"--{name}" + ("" if value is True else f" {value}") for name, value in self.flags.items())
        return f"{self.model}, K={self.answers}, {self.precision} {flags}".strip()


SETTINGS = (
    Setting(),
    Setting(precision="float32"),
    Setting(answers=4),
    Setting(flags={"lora": 16}),
    Setting(flags={"gradient-checkpointing": True}),
    Setting(flags={"reference": "frozen"}),
    Setting(precision="float32", flags={"gradient-checkpointing": True, "reference": "frozen"}),
    Setting(model="66M wide"),
    Setting(model="66M wide", answers=4, precision="float32", flags={"lora": 8}),
    Setting(model="15M deep", flags={"tokens-per-micro-batch": 8192}, batch_size=128),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", help="its kind, as of truenorth plan; none: the CPU")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of settings, from 0")
    asked = parser.parse_args()
    off = 0
    print(f"{'setting':62} {'plan GB':>8} {'took GB':>8} {'ratio':>6}")
    with tempfile.TemporaryDirectory(prefix="truenorth-plan-") as folder:
        for i, setting in enumerate(SETTINGS):
            if asked.only is None or i in asked.only:
                planned, took = _planned(setting, Path(folder), asked.gpu), _took(setting, Path(folder))
                off += abs(planned / took - 1) > ALLOWED
                print(f"{setting!s:62} {planned / 1e9:8.2f} {took / 1e9:8.2f} {planned / took:6.2f}", flush=True)
    sys.exit(off > 0)


def _planned(setting: Setting, folder: Path, gpu: str | None) -> float:
    flags = {**_flags(setting, folder), "measure": 0, **({"gpu": gpu} if gpu else {})}
    command = [sys.executable, "-m", "truenorth", "plan", setting.method, "--json", *_spelt(flags)]
    found = json.loads(_said(command))
    return found["total"] - (found["parts"]["process"] if gpu else 0)


def _took(setting: Setting, folder: Path) -> float:
    flags = _flags(setting, folder) | {"out": folder / "out"}
    return float(_said([sys.executable, str(HERE / "plan_side.py"), setting.method, *_spelt(flags)]).splitlines()[-1])


def _flags(setting: Setting, folder: Path) -> dict[str, object]:
    return {
        "model": _model(setting.model),
        "data": _data(setting, folder),
        "precision": setting.precision,
        "batch-size": setting.batch_size,
        **setting.flags,
    }


def _spelt(flags: Mapping[str, object]) -> list[str]:
    return [word for name, value in flags.items() for word in ([f"--{name}"] + [str(value)] * (value is not True))]


def _said(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def _model(name: str) -> Path:
    """The benchmark's Llama in another shape, with its tokenizer. Made once, beside the caches."""
    cache = Path(os.environ.get("TRUENORTH_CACHE") or Path.home() / ".cache" / "truenorth") / "benchmarks"
    texts = (text for row in rows.pairs() for text in (row.prompt, *row.responses))
    base = model.build(cache / f"plan-33M-{'given' if rows.folder() else 'made-up'}", texts)
    folder = base.with_name(base.name.replace("33M", name.replace(" ", "-")))
    if not (folder / "model.safetensors").exists():
        tokenizer = AutoTokenizer.from_pretrained(base)
        sizes = model.config_of(len(tokenizer)).to_dict() | SHAPES[name]
        sizes.pop("head_dim", None)
        torch.manual_seed(0)
        made = LlamaForCausalLM(LlamaConfig(**sizes))
        made.config.eos_token_id, made.config.bos_token_id = tokenizer.eos_token_id, None
        tokenizer.save_pretrained(folder)
        made.save_pretrained(folder)
    return folder


def _data(setting: Setting, folder: Path) -> Path:
    file = folder / f"rows-{setting.answers}.jsonl"
    if not file.exists():
        chosen = rows.pairs() if setting.answers == 2 else rows.groups(setting.answers)
        with file.open("w") as out:
            for row in chosen[:400]:
                ranks = list(range(1, len(row.responses) + 1))
                out.write(json.dumps({"prompt": row.prompt, "responses": row.responses, "ranks": ranks}) + "\n")
    return file


if __name__ == "__main__":
    main()
