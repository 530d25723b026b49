"""Files of up to two million rows: seconds to the first batch, cold and from the cache, and memory. See README.md."""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import results
import rows
from model import train_tokenizer

COUNTS = (10_000, 100_000, 1_000_000, 2_000_000)
ROOM = 4000  # bytes of disk for a row: its text, at most twice, and its tokens
TABLE = results.RESULTS.with_name("scale.csv")


@dataclass(frozen=True, slots=True)
class Scale:
    """One line of scale.csv. Seconds run from the start of a process to its first batches; no model is loaded."""

    date: str  # UTC
    commit: str
    machine: str
    rows: int
    processes: int
    file_mb: float
    cold_seconds: float  # nothing is prepared
    warm_seconds: float  # the rows are in the cache
    rows_per_second: float  # cold
    rows_per_work_second: float  # the same of processor time, which other programs on the machine disturb less
    cold_peak_mb: float  # resident memory of the process itself
    worker_peak_mb: float  # of the largest of the others; 0: there were none
    warm_peak_mb: float
    imports_mb: float  # of the warm peak, before any row is read
    cache_bytes_per_row: float


def main() -> None:
    asked = _arguments()
    print(f"{results.machine()}, {asked.processes} processes")
    print(
        _line(
            "rows",
            "file",
            "cold",
            "warm",
            "rows/s",
            "by work",
            "cold peak",
            "workers",
            "warm peak",
            "imports",
            "on disk",
        )
    )
    with tempfile.TemporaryDirectory(prefix="truenorth-scale-") as name:
        folder, most = Path(name), max(asked.rows)
        if (free := shutil.disk_usage(folder).free) < ROOM * most:
            raise SystemExit(f"{folder} has {free / 1e9:.0f} GB left, {most:,} rows need {ROOM * most / 1e9:.0f}.")
        _write_rows(folder / "all.jsonl", most)
        _write_tokenizer(folder / "tokenizer")
        for count in sorted(asked.rows):
            found = _measured(folder, count, asked.processes)
            print(_shown(found), flush=True)
            results.append(found, TABLE)


def _measured(folder: Path, count: int, processes: int) -> Scale:
    """One file of `count` rows, prepared by one fresh process and opened by another."""
    file, cache = folder / "rows.jsonl", folder / "cache"
    with (folder / "all.jsonl").open("rb") as lines, file.open("wb") as out:
        out.writelines(islice(lines, count))
    settings = {"rows": str(file), "cache": str(cache), "tokenizer": str(folder / "tokenizer")}
    begun = _worked()
    cold_seconds, cold = _run(settings, processes)
    work = _worked() - begun
    warm_seconds, warm = _run(settings, processes)
    if cold["rows"] != count or cold["identity"] != warm["identity"]:
        raise SystemExit(f"VOID: {cold} when prepared, {warm} from the cache, of {count} rows.")
    found = Scale(
        date=results.now(),
        commit=results.commit(),
        machine=results.machine(),
        rows=count,
        processes=processes,
        file_mb=file.stat().st_size / 1e6,
        cold_seconds=cold_seconds,
        warm_seconds=warm_seconds,
        rows_per_second=count / cold_seconds,
        rows_per_work_second=count / work,
        cold_peak_mb=cold["peak"] / 1e6,
        worker_peak_mb=cold["workers_peak"] / 1e6,
        warm_peak_mb=warm["peak"] / 1e6,
        imports_mb=warm["begun"] / 1e6,
        cache_bytes_per_row=sum(path.stat().st_size for path in cache.rglob("rows.arrow")) / count,
    )
    shutil.rmtree(cache)
    file.unlink()
    return found


def _run(settings: dict[str, str], processes: int) -> tuple[float, dict[str, int]]:
    """Wall seconds of one process, and what it says."""
    script, begun = Path(__file__).with_name("ours_scale.py"), time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(settings)],
        env={**os.environ, "TRUENORTH_DATA_PROCESSES": str(processes), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return time.perf_counter() - begun, json.loads(done.stdout)


def _worked() -> float:
    """Processor seconds of all processes that this one has started and seen end, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _write_rows(file: Path, count: int) -> None:
    with file.open("w") as out:
        for row in rows.made_up(count, answers=2):
            chosen, rejected = row.responses
            out.write(json.dumps({"prompt": row.prompt, "chosen": chosen, "rejected": rejected}) + "\n")


def _write_tokenizer(folder: Path) -> None:
    texts = (text for row in rows.made_up(1000, answers=2) for text in (row.prompt, *row.responses))
    train_tokenizer(texts).save_pretrained(folder)


def _line(*cells: str) -> str:
    return "  ".join(f"{cell:>9}" for cell in cells)


def _shown(found: Scale) -> str:
    return _line(
        f"{found.rows:,}",
        f"{found.file_mb:,.0f} MB",
        f"{found.cold_seconds:,.1f} s",
        f"{found.warm_seconds:,.1f} s",
        f"{found.rows_per_second:,.0f}",
        f"{found.rows_per_work_second:,.0f}",
        *(f"{mb:,.0f} MB" for mb in (found.cold_peak_mb, found.worker_peak_mb, found.warm_peak_mb, found.imports_mb)),
        f"{found.cache_bytes_per_row:,.0f} B",
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    return parser.parse_args()


if __name__ == "__main__":
    main()
