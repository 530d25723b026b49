"""What was measured: rows of results.csv, with the machine and the versions that they hold for."""

import csv
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results.csv"


@dataclass(frozen=True, slots=True)
class Result:
    """One line of results.csv. Spreads are the distance of the quartiles as a share of the median."""

    date: str  # UTC
    commit: str  # with a + where truenorth/ had changes that were not committed
    machine: str
    versions: str
    setting: str
    ours: float  # seconds; rows per second where the note says so
    theirs: float
    ours_spread: float
    theirs_spread: float
    ratio: float  # how many times faster ours is
    work_ratio: (
        float  # the same of processor time, which another program on the machine disturbs less; 0: not measured
    )
    ours_peak_gb: float
    theirs_peak_gb: float
    repeats: int
    note: str


def append(result: Any, file: Path = RESULTS) -> None:
    """Add a dataclass to `file` as a line, with a header if it is new. Raises ValueError if its header is another."""
    names = [field.name for field in fields(result)]
    new = not file.exists()
    if not new:
        with file.open(newline="") as lines:
            header = next(csv.reader(lines), [])
        if header != names:
            raise ValueError(f"{file} has the columns {header}, not {names}. Move it away first.")
    with file.open("a", newline="") as out:
        writer = csv.DictWriter(out, names, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in asdict(result).items()})


def spread(values: Sequence[float]) -> float:
    """The distance between the quartiles, as a share of the median.

    >>> spread([1.0, 2.0, 3.0, 4.0, 5.0])
    0.6666666666666666
    """
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M")


def commit() -> str:
    here = Path(__file__).parent
    head = _said("git", "-C", str(here), "rev-parse", "--short", "HEAD")
    changed = _said("git", "-C", str(here), "status", "--porcelain", "--", str(here.parent / "truenorth"))
    return head + ("+" if changed else "")


def machine() -> str:
    """The processor's name, family and model, and how many cores there are."""
    info = Path("/proc/cpuinfo")
    known = (
        dict((part.strip() for part in line.split(":", 1)) for line in info.read_text().splitlines() if ":" in line)
        if info.exists()
        else {}
    )
    name = known.get("model name") or platform.processor() or platform.machine()
    detail = f" (family {known['cpu family']} model {known['model']})" if "cpu family" in known else ""
    return f"{name}{detail}, {os.cpu_count()} cores"


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
