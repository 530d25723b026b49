"""Rows a second from a file to token ids, ours against TRL's: setting (f) of `step.py --against trl`."""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import results
import rows
from comparison import SETTINGS, TRL, model_folder
from protocol import HERE, Child
from results import Result


def main() -> None:
    asked = _arguments()
    found = rows.pairs()
    with tempfile.TemporaryDirectory(prefix="truenorth-benchmark-") as folder:
        lines = [{"prompt": r.prompt, "chosen": r.responses[0], "rejected": r.responses[1]} for r in found]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (Path(folder) / "rows.jsonl").write_text(text)
        settings = {"folder": folder, "rows": f"{folder}/rows.jsonl", "model": str(model_folder(SETTINGS["a"]))}
        ours = Child(Path(sys.executable), HERE / "ours_tokens.py", settings=settings, environment={})
        theirs = Child(TRL, HERE / "peers" / "trl_tokens.py", settings=settings, environment={})
        taken = [(ours.ask("step"), theirs.ask("step")) for _ in range(1 + asked.repeats)][1:]
        tokens = [child.ask("tokens")["tokens"] for child in (ours, theirs)]
        ours.stop()
        theirs.stop()
    if tokens[0] != tokens[1]:
        raise SystemExit(f"VOID: ours made {tokens[0]} tokens of the rows, TRL {tokens[1]}.")
    result = _result([len(found) / a["seconds"] for a, _ in taken], [len(found) / b["seconds"] for _, b in taken])
    work = statistics.median(b["work"] for _, b in taken) / statistics.median(a["work"] for a, _ in taken)
    result = replace(
        result, versions=f"trl {theirs.ready['trl']} tokenizers {theirs.ready['tokenizers']}", work_ratio=work
    )
    results.append(result)
    print(f"(f) rows a second: ours {result.ours:.0f}, TRL {result.theirs:.0f}, {result.ratio:.2f}x")


def _result(ours: list[float], theirs: list[float]) -> Result:
    """Without versions and processor time."""
    return Result(
        date=results.now(),
        commit=results.commit(),
        machine=results.machine(),
        versions="",
        setting="(f) tokenisation of HH pairs, one process",
        ours=statistics.median(ours),
        theirs=statistics.median(theirs),
        ours_spread=results.spread(ours),
        theirs_spread=results.spread(theirs),
        ratio=statistics.median(ours) / statistics.median(theirs),
        work_ratio=0.0,
        ours_peak_gb=0.0,
        theirs_peak_gb=0.0,
        repeats=len(ours),
        note="; ".join(["rows a second, from a JSONL file to tokens on disk"] + ["made up"] * (rows.folder() is None)),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", choices=["trl"], required=True, help="the peer")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
