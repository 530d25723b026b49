"""Training steps on one GPU, ours and TRL's on the same rows: one part of `gpu.sh`. See README.md, "On a GPU"."""

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_model
import results
import rows
import torch
from comparison import SETTINGS, Setting
from gpu_model import Size
from protocol import HERE, Child
from results import Result
from rows import Row

WARM_UP = 2  # steps that are taken and not counted
NOISE = 1e-3  # added to the weights, so that policy and reference differ
PER_TOKEN = 0.2  # nats by which both sides may differ in bfloat16, times the root of the response's tokens


@dataclass(frozen=True, slots=True)
class Part:
    """One line of the table."""

    name: str
    size: str  # of the model
    setting: Setting
    prompts: int  # per step
    lora: bool = False


PARTS: Mapping[str, Part] = {
    part.name: part
    for part in (  # in this order, since time on a GPU is short
        Part("1b-a", "1b", SETTINGS["a"], prompts=64),
        Part("1b-d4", "1b", SETTINGS["d4"], prompts=32),
        Part("8b-a-lora", "8b", SETTINGS["b"], prompts=64, lora=True),
        Part("8b-d4-lora", "8b", SETTINGS["d4"], prompts=32, lora=True),
        Part("1b-c", "1b", SETTINGS["c"], prompts=64),
    )
}


@dataclass(frozen=True, slots=True)
class Side:
    """What one side's steps took."""

    seconds: list[float]  # of the steps that count
    peak: int  # bytes, of the GPU's memory where there is one
    log_probs: list[list[float]]  # of the first step, before it
    ready: Mapping[str, Any]  # what the child said before its first step

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("the part's time is over"))  # through `finally`
    asked = _arguments()
    part = PARTS[asked.part]
    until = time.monotonic() + asked.seconds
    size = gpu_model.SIZES["tiny" if asked.tiny else part.size]
    machine = _machine()
    rate = matrix_rate(512 if asked.tiny else 8192)
    print(f"{part.name}: {machine}; bfloat16 products of large matrices: {rate / 1e12:.3g} TFLOP/s", flush=True)
    with tempfile.TemporaryDirectory(prefix="truenorth-gpu-") as name:
        folder = Path(name)
        chosen = _rows(part, asked)
        model = gpu_model.make(asked.models / size.name, size, chosen)
        told = _told(part, asked, folder, model)
        (folder / "rows.jsonl").write_text("".join(json.dumps(_line(row)) + "\n" for row in chosen))
        ours = _run(asked.ours, HERE / "ours_side.py", told | {"tokens_at_once": asked.tokens_at_once})
        share = _operations(part, size, ours) / rate
        print(_line_of(part, "ours", ours, share), flush=True)
        (folder / "pairs.json").write_text(json.dumps(_pairs(chosen, ours.ready["order"])))
        theirs: Side | None = None
        try:
            for side in _tries_of_trl(asked, told, until=until):
                _check(ours, side)
                print(_line_of(part, f"TRL, {side.ready['pairs_at_once']} pairs at once", side, 0.0), flush=True)
                theirs = side if theirs is None or side.median < theirs.median else theirs
        finally:  # a part that is cut off still leaves what was measured
            notes = [
                "TRL not measured" if theirs is None else _how(theirs),
                f"share of the matrix rate {share:.3f}",
                f"{_tokens(ours) / ours.median:.0f} tokens a second",
            ]
            notes += ["rows made up"] * (rows.folder() is None) + ["tiny: a trial of the script alone"] * asked.tiny
            results.append(_result(part, machine, ours, theirs, "; ".join(notes)), asked.results)


def _tries_of_trl(asked: argparse.Namespace, told: Mapping[str, Any], *, until: float) -> Iterator[Side]:
    """TRL's steps with each batch size that fits, while there is time."""
    longest, too_large = 0.0, told["pairs_per_step"] + 1
    for size in asked.pairs_at_once if asked.theirs else []:
        began = time.monotonic()
        if size >= too_large or began + longest > until:
            continue
        try:
            yield _run(asked.theirs, HERE / "peers" / "trl_side.py", {**told, "pairs_at_once": size})
        except RuntimeError as error:
            if "out of memory" not in str(error).lower():
                raise
            print(f"TRL with {size} pairs at once does not fit in memory", flush=True)
            too_large = size
        longest = max(longest, time.monotonic() - began)


def _how(theirs: Side) -> str:
    return f"TRL {theirs.ready['attention']} attention, {theirs.ready['pairs_at_once']} pairs at once"


def _run(python: Path, script: Path, settings: Mapping[str, Any]) -> Side:
    """All steps of one side, in a process of its own that has the GPU for itself."""
    child = Child(python, script, settings=settings, environment={"TOKENIZERS_PARALLELISM": "false"})
    try:
        log_probs = child.ask("log_probs")["log_probs"]
        steps = [child.ask("step") for _ in range(settings["steps"])]
    finally:
        child.stop()
    peak = max(step.get("device_peak", step["peak"]) for step in steps)
    ready = {**child.ready, "pairs_at_once": settings.get("pairs_at_once")}
    return Side([step["seconds"] for step in steps[WARM_UP:]], peak, log_probs, ready)


def _check(ours: Side, theirs: Side) -> None:
    """Raise SystemExit if the first step's log-probs differ by more than bfloat16 explains."""
    ours_pairs = [[group[0], rejected] for group in ours.log_probs for rejected in group[1:]]
    lengths = [[one[0], other] for one in ours.ready["lengths"] for other in one[1:]]
    for pair, other, tokens in zip(ours_pairs, theirs.log_probs, lengths, strict=True):
        for a, b, n in zip(pair, other, tokens, strict=True):
            if not abs(a - b) <= PER_TOKEN * n**0.5:
                raise SystemExit(f"VOID: a response of {n} tokens has {a:.3f} nats with us and {b:.3f} with TRL.")


def matrix_rate(width: int) -> float:
    """Floating-point operations a second of a bfloat16 product of [width, width] matrices: the median of ten."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    a, b = (torch.randn(width, width, device=device, dtype=torch.bfloat16) for _ in range(2))
    taken: list[float] = []
    for _ in range(13):
        _wait()
        began = time.perf_counter()
        torch.mm(a, b)
        _wait()
        taken.append(time.perf_counter() - began)
    return 2 * width**3 / statistics.median(taken[3:])


def _operations(part: Part, size: Size, ours: Side) -> float:
    """Floating-point operations a second of the linear layers and the head: forward, reference, backward.

    An adapter's base has no gradients of its own. Attention, adapters and what is computed twice are not counted.
    """
    passes = 3 if part.lora else 4
    counted = ours.ready["batches"][WARM_UP : WARM_UP + len(ours.seconds)]
    each = [sum(size.products(tokens, targets) for tokens, targets in step) for step in counted]
    return statistics.median(passes * one / s for one, s in zip(each, ours.seconds, strict=True))


def _tokens(ours: Side) -> float:
    """Tokens of a step, each prompt counted once: the same work for both sides."""
    counted = ours.ready["batches"][WARM_UP : WARM_UP + len(ours.seconds)]
    return statistics.median(sum(tokens for tokens, _ in step) for step in counted)


def _rows(part: Part, asked: argparse.Namespace) -> list[Row]:
    found, needed = part.setting.read(), _prompts(part, asked) * (WARM_UP + asked.repeats + 1)
    return (found * (1 + needed // len(found)))[:needed]


def _prompts(part: Part, asked: argparse.Namespace) -> int:
    return 4 if asked.tiny else part.prompts


def _line(row: Row) -> dict[str, object]:
    if len(row.responses) == 2:
        return {"prompt": row.prompt, "chosen": row.responses[0], "rejected": row.responses[1]}
    return {"prompt": row.prompt, "responses": row.responses, "ranks": list(range(1, len(row.responses) + 1))}


def _pairs(chosen: Sequence[Row], order: Sequence[Sequence[int]]) -> list[dict[str, str]]:
    return [
        {"prompt": chosen[i].prompt, "chosen": chosen[i].responses[0], "rejected": rejected}
        for step in order
        for i in step
        for rejected in chosen[i].responses[1:]
    ]


def _told(part: Part, asked: argparse.Namespace, folder: Path, model: Path) -> dict[str, Any]:
    prompts, answers = _prompts(part, asked), part.setting.answers
    return {
        "folder": str(folder),
        "model": str(model),
        "rows": str(folder / "rows.jsonl"),
        "pairs": str(folder / "pairs.json"),
        "answers": answers,
        "prompts": prompts,
        "pairs_per_step": prompts * (answers - 1),
        "lora": part.lora,
        "cached": False,
        "steps": WARM_UP + asked.repeats,
        "precision": "bfloat16",
        "noise": NOISE,
        "learning_rate": 1e-6,
        "gpu": torch.cuda.is_available(),
    }


def _result(part: Part, machine: str, ours: Side, theirs: Side | None, note: str) -> Result:
    prompts, adapter = len(ours.ready["order"][0]), ", LoRA" * (part.lora and not part.setting.lora)
    return Result(
        date=results.now(),
        commit=results.commit(),
        machine=machine,
        versions=" ".join(f"{n} {(theirs or ours).ready[n]}" for n in ("trl", "torch") if n in (theirs or ours).ready),
        setting=f"({part.name}) {part.setting.what}{adapter}, {prompts} prompts a step",
        ours=ours.median,
        theirs=theirs.median if theirs else 0.0,
        ours_spread=results.spread(ours.seconds),
        theirs_spread=results.spread(theirs.seconds) if theirs else 0.0,
        ratio=theirs.median / ours.median if theirs else 0.0,
        work_ratio=0.0,
        ours_peak_gb=ours.peak / 1e9,
        theirs_peak_gb=theirs.peak / 1e9 if theirs else 0.0,
        repeats=len(ours.seconds),
        note=note,
    )


def _line_of(part: Part, who: str, side: Side, share: float) -> str:
    shown = f"  {share:.0%} of the matrix rate" if share else ""
    return (
        f"({part.name}) {who:32s} {side.median:7.3f} s (spread {results.spread(side.seconds):.0%})  "
        f"peak {side.peak / 1e9:5.1f} GB{shown}"
    )


def _machine() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else results.machine()


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--ours", type=Path, required=True, help="a Python that can import truenorth")
    parser.add_argument("--theirs", type=Path, help="a Python with TRL; without it only our side runs")
    parser.add_argument("--models", type=Path, required=True, help="folder for the random models: 18 GB in all")
    parser.add_argument("--results", type=Path, default=results.RESULTS, help="file that the result is appended to")
    parser.add_argument("--repeats", type=int, default=5, help="steps that count")
    parser.add_argument("--seconds", type=float, default=240, help="no further batch size of TRL is tried past these")
    parser.add_argument("--tokens-at-once", type=int, default=16384, help="our micro-batch; halved until it fits")
    parser.add_argument(
        "--pairs-at-once", type=int, nargs="+", default=[16, 8, 32, 4], help="TRL's batch sizes, in turn"
    )
    parser.add_argument("--tiny", action="store_true", help="a tiny model and few rows, to try the script on any CPU")
    asked = parser.parse_args()
    if asked.tiny:
        asked.pairs_at_once, asked.repeats = [2, 4], 3
    return asked


if __name__ == "__main__":
    main()
