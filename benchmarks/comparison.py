"""A setting, and the two children that run it on the same rows."""

import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import model
import rows
from protocol import HERE, Child
from rows import Row

TRL = HERE / "peers" / ".venv-trl" / "bin" / "python"
ALLOCATORS: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "tuned": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**36)},
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the table."""

    name: str
    what: str
    read: Callable[[], list[Row]]
    prompts: int = 16  # per step
    answers: int = 2
    lora: bool = False
    cached: bool = False  # references computed before, as in a second epoch; else in the step


SETTINGS: Mapping[str, Setting] = {
    s.name: s
    for s in (
        Setting("a", "HH pairs, full fine-tuning", rows.pairs),
        Setting("b", "HH pairs, LoRA of rank 16", rows.pairs, lora=True),
        Setting("c", "long prompts, short answers", rows.summaries),
        *(Setting(f"d{k}", f"{k} answers to a prompt", partial(rows.groups, k), 4, k) for k in (2, 4, 8)),
        Setting("e", "HH pairs, references computed before", rows.pairs, cached=True),
    )
}


@dataclass(frozen=True, slots=True)
class How:
    """What both children are told besides the setting."""

    steps: int
    precision: str = "bfloat16"
    allocator: str = "default"
    noise: float = 1e-3  # added to the weights, so that policy and reference differ
    learning_rate: float = 1e-5
    prompts: int | None = None  # per step; None: the setting's
    sorted_for_peer: bool = False  # each step's pairs go to TRL by length, so that it pads little
    threads: int = os.cpu_count() or 1


@contextmanager
def sides(setting: Setting, how: How, pairs_at_once: Sequence[int]) -> Generator[tuple[Child, list[Child]]]:
    """TrueNorth's child and TRL's, one for each of its batch sizes `pairs_at_once`, ready for a first step.

    Raises SystemExit where there is no TRL.
    """
    if not TRL.exists():
        raise SystemExit("TRL's environment is not there: run benchmarks/peers/make_trl.sh first.")
    children: list[Child] = []
    with tempfile.TemporaryDirectory(prefix="truenorth-benchmark-") as folder:
        try:
            children.append(ours := start_ours(setting, how, Path(folder)))
            for size in pairs_at_once:
                children.append(start_trl(setting, how, Path(folder), order=ours.ready["order"], pairs_at_once=size))
            yield ours, children[1:]
        finally:
            for child in children:
                child.stop()


def start_ours(setting: Setting, how: How, folder: Path) -> Child:
    chosen = _rows(setting, how)
    lines = [_line(row) for row in chosen]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Child(
        Path(sys.executable),
        HERE / "ours_side.py",
        settings=_told(setting, how, folder),
        environment=_environment(how),
    )


def start_trl(
    setting: Setting, how: How, folder: Path, *, order: Sequence[Sequence[int]], pairs_at_once: int
) -> Child:
    """`order` says which rows each step takes, `pairs_at_once` is TRL's per_device_train_batch_size."""
    chosen = _rows(setting, how)
    pairs: list[dict[str, str]] = []
    for step in order:
        taken = [
            {"prompt": chosen[i].prompt, "chosen": chosen[i].responses[0], "rejected": rejected}
            for i in step
            for rejected in chosen[i].responses[1:]
        ]
        if how.sorted_for_peer:
            taken.sort(key=lambda p: len(p["prompt"]) + max(len(p["chosen"]), len(p["rejected"])))
        pairs.extend(taken)
    (folder / "pairs.json").write_text(json.dumps(pairs))
    script = HERE / "peers" / "trl_side.py"
    told = _told(setting, how, folder) | {"pairs_at_once": pairs_at_once}
    return Child(TRL, script, settings=told, environment=_environment(how))


def model_folder(setting: Setting) -> Path:
    """The benchmark's model, its tokenizer trained on the setting's kind of rows. Made once, beside the caches."""
    kind = "groups" if setting.answers > 2 else "pairs"
    source = "made-up" if rows.folder() is None else "given"
    cache = Path(os.environ.get("TRUENORTH_CACHE") or Path.home() / ".cache" / "truenorth")
    texts = rows.groups(4) if kind == "groups" else rows.pairs()
    folder = cache / "benchmarks" / f"llama-32m-{kind}-{source}"
    return model.build(folder, (text for row in texts for text in (row.prompt, *row.responses)))


def _rows(setting: Setting, how: How) -> list[Row]:
    needed = (how.prompts or setting.prompts) * (how.steps + 1)
    found = setting.read()
    while len(found) < needed:  # another order, as another epoch would have
        found = found + random.Random(len(found)).sample(found, len(found))
    return found[:needed]


def _line(row: Row) -> dict[str, object]:
    if len(row.responses) == 2:
        return {"prompt": row.prompt, "chosen": row.responses[0], "rejected": row.responses[1]}
    return {"prompt": row.prompt, "responses": row.responses, "ranks": list(range(1, len(row.responses) + 1))}


def _told(setting: Setting, how: How, folder: Path) -> dict[str, object]:
    prompts = how.prompts or setting.prompts
    return {
        "folder": str(folder),
        "model": str(model_folder(setting)),
        "rows": str(folder / "rows.jsonl"),
        "pairs": str(folder / "pairs.json"),
        "answers": setting.answers,
        "prompts": prompts,
        "pairs_per_step": prompts * (setting.answers - 1),
        "lora": setting.lora,
        "cached": setting.cached,
        "steps": how.steps,
        "precision": how.precision,
        "noise": how.noise,
        "learning_rate": how.learning_rate,
    }


def _environment(how: How) -> dict[str, str]:
    cache = {"HF_DATASETS_CACHE": tempfile.gettempdir() + "/truenorth-benchmark-datasets"}
    return {"OMP_NUM_THREADS": str(how.threads), **ALLOCATORS[how.allocator], **cache}
