"""Rows a second from a file to token ids, ours against TRL's: setting (f) of `step.py --against trl`."""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import results
import rows
from comparison import SETTINGS, TRL, model_folder
from protocol import HERE, Child
from results import Result


@dataclass(frozen=True, slots=True)
class Taken:
    """What both sides said of each repeat, ours first."""

    rows: int
    steps: list[tuple[dict[str, float], dict[str, float]]]
    versions: str


def main() -> None:
    asked = _arguments()
    ratios: list[str] = []
    for processes in asked.processes:
        result = _result(_taken(processes, asked.copies, asked.repeats), processes, asked.copies)
        results.append(result)
        print(
            f"(f) {result.setting}: rows a second: ours {result.ours:.0f} (spread {result.ours_spread:.0%}), TRL "
            f"{result.theirs:.0f} ({result.theirs_spread:.0%}), {result.ratio:.2f}x",
            flush=True,
        )
        ratios.append(f"{processes} processes {result.ratio:.2f}x")
    print("TrueNorth makes tokens faster by: " + ", ".join(ratios))


def _taken(processes: int, copies: int, repeats: int) -> Taken:
    """Both sides in turn, after a warm-up. Leaves the program if they do not make the same number of tokens."""
    found = rows.pairs()
    lines = [
        {"prompt": f"{copy} {r.prompt}" if copy else r.prompt, "chosen": r.responses[0], "rejected": r.responses[1]}
        for copy in range(copies)
        for r in found
    ]
    environment = {"TRUENORTH_DATA_PROCESSES": str(processes)}
    if processes == 1:  # one process has one thread: encoding a batch would take all cores on our side alone
        environment |= {"RAYON_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="truenorth-benchmark-") as folder:
        (Path(folder) / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        settings = {
            "folder": folder,
            "rows": f"{folder}/rows.jsonl",
            "model": str(model_folder(SETTINGS["a"])),
            "processes": processes,
        }
        ours = Child(Path(sys.executable), HERE / "ours_tokens.py", settings=settings, environment=environment)
        theirs = Child(TRL, HERE / "peers" / "trl_tokens.py", settings=settings, environment=environment)
        steps = [(ours.ask("step"), theirs.ask("step")) for _ in range(1 + repeats)][1:]
        tokens = [child.ask("tokens")["tokens"] for child in (ours, theirs)]
        ours.stop()
        theirs.stop()
    if tokens[0] != tokens[1]:
        raise SystemExit(f"VOID: ours made {tokens[0]} tokens of the rows, TRL {tokens[1]}.")
    return Taken(len(lines), steps, f"trl {theirs.ready['trl']} tokenizers {theirs.ready['tokenizers']}")


def _result(taken: Taken, processes: int, copies: int) -> Result:
    ours, theirs = ([taken.rows / step[side]["seconds"] for step in taken.steps] for side in (0, 1))
    notes = [f"rows a second, from a JSONL file of {taken.rows} rows to tokens on disk"]
    notes += ["made up"] * (rows.folder() is None) + [f"each pair {copies} times, numbered"] * (copies > 1)
    return Result(
        date=results.now(),
        commit=results.commit(),
        machine=results.machine(),
        versions=taken.versions,
        setting=f"(f) tokenisation of HH pairs, {processes} {'process' if processes == 1 else 'processes'} each",
        ours=statistics.median(ours),
        theirs=statistics.median(theirs),
        ours_spread=results.spread(ours),
        theirs_spread=results.spread(theirs),
        ratio=statistics.median(ours) / statistics.median(theirs),
        work_ratio=_work(taken, 1) / _work(taken, 0) if processes == 1 else 0.0,  # else others do the work
        ours_peak_gb=_peak(taken, 0),
        theirs_peak_gb=_peak(taken, 1),
        repeats=len(ours),
        note="; ".join(notes),
    )


def _work(taken: Taken, side: int) -> float:
    return statistics.median(step[side]["work"] for step in taken.steps)


def _peak(taken: Taken, side: int) -> float:
    """Of the side's own process, in GB."""
    return max(step[side]["peak"] for step in taken.steps) / 1e9


def _arguments() -> argparse.Namespace:
    cores: Sequence[int] = sorted({1, os.cpu_count() or 1})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", choices=["trl"], required=True, help="the peer")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processes", type=int, nargs="+", default=cores, help="ours, and TRL's dataset_num_proc")
    parser.add_argument("--copies", type=int, default=10, help="times that each pair stands in the file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
