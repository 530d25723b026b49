"""Time optimizer steps against another library: `benchmarks/step.py --against trl`. See benchmarks/README.md."""

import argparse
import os
import statistics
from dataclasses import dataclass

import results
import rows
from agreement import check
from comparison import ALLOCATORS, SETTINGS, How, Setting, both
from results import Result

WARM_UP = 2  # steps that are taken and not counted


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds of the steps of both sides, in the order in which they were taken, and what they held at most."""

    ours: list[float]
    theirs: list[float]
    work_ratio: float  # of the medians of processor seconds
    ours_peak: int  # bytes
    theirs_peak: int
    versions: str

    @property
    def ratio(self) -> float:
        return statistics.median(self.theirs) / statistics.median(self.ours)


def main() -> None:
    asked = _arguments()
    print(f"{results.machine()}, {asked.threads} threads; rows: {'made up' if rows.folder() is None else 'given'}")
    ratios: list[str] = []
    for name in asked.setting:
        setting = SETTINGS[name]
        if not asked.unchecked:
            agreement = check(setting, How(steps=0, threads=asked.threads))
            print(f"({name}) {agreement}", flush=True)
            if not agreement.holds:
                raise SystemExit("VOID: both sides do not compute the same, so their speeds do not compare.")
        for allocator in asked.allocator:
            how = How(
                steps=WARM_UP + asked.repeats,
                allocator=allocator,
                threads=asked.threads,
                pairs_at_once=asked.pairs_at_once,
                sorted_for_peer=asked.sorted_for_peer,
            )
            timed = time_steps(setting, how)
            _record(setting, how, timed, checked=not asked.unchecked)
            print(_line(setting, how, timed), flush=True)
            ratios.append(f"{name} {allocator} {timed.ratio:.2f}x")
    print("TrueNorth's step is faster by: " + ", ".join(ratios))


def time_steps(setting: Setting, how: How) -> Timed:
    """Steps of both sides in turn, after a warm-up."""
    with both(setting, how) as (ours, theirs):
        taken = [(ours.ask("step"), theirs.ask("step")) for _ in range(how.steps)]
        versions = " ".join(f"{name} {theirs.ready[name]}" for name in ("trl", "transformers", "torch"))
    counted = taken[WARM_UP:]
    return Timed(
        ours=[a["seconds"] for a, _ in counted],
        theirs=[b["seconds"] for _, b in counted],
        work_ratio=statistics.median(b["work"] for _, b in counted) / statistics.median(a["work"] for a, _ in counted),
        ours_peak=max(a["peak"] for a, _ in taken),
        theirs_peak=max(b["peak"] for _, b in taken),
        versions=versions,
    )


def _record(setting: Setting, how: How, timed: Timed, *, checked: bool) -> None:
    notes = [
        f"allocator {how.allocator}",
        f"{how.threads} threads",
        f"TRL {_pairs_at_once(setting, how)} pairs at once",
    ]
    notes += ["TRL's pairs sorted by length in each step"] * how.sorted_for_peer
    notes += ["not checked that both compute the same"] * (not checked)
    notes += ["rows made up"] * (rows.folder() is None)
    result = Result(
        date=results.now(),
        commit=results.commit(),
        machine=results.machine(),
        versions=timed.versions,
        setting=f"({setting.name}) {setting.what}, {setting.prompts} prompts a step",
        ours=statistics.median(timed.ours),
        theirs=statistics.median(timed.theirs),
        ours_spread=results.spread(timed.ours),
        theirs_spread=results.spread(timed.theirs),
        ratio=timed.ratio,
        work_ratio=timed.work_ratio,
        ours_peak_gb=timed.ours_peak / 1e9,
        theirs_peak_gb=timed.theirs_peak / 1e9,
        repeats=len(timed.ours),
        note="; ".join(notes),
    )
    results.append(result)


def _line(setting: Setting, how: How, timed: Timed) -> str:
    ours, theirs = statistics.median(timed.ours), statistics.median(timed.theirs)
    return (
        f"({setting.name}) {setting.what:40s} {how.allocator:8s} "
        f"ours {ours:7.2f} s (spread {results.spread(timed.ours):4.0%})  "
        f"TRL {theirs:7.2f} s ({results.spread(timed.theirs):4.0%})  "
        f"peak {timed.ours_peak / 1e9:5.2f} / {timed.theirs_peak / 1e9:5.2f} GB  {timed.ratio:5.2f}x "
        f"(processor time {timed.work_ratio:.2f}x)"
    )


def _pairs_at_once(setting: Setting, how: How) -> int:
    return how.pairs_at_once or setting.pairs_at_once


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", choices=["trl"], required=True, help="the peer")
    parser.add_argument("--setting", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=5, help="steps that count, of each side")
    parser.add_argument("--allocator", nargs="+", choices=list(ALLOCATORS), default=list(ALLOCATORS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pairs-at-once", type=int, help="TRL's per_device_train_batch_size instead of its best")
    parser.add_argument("--sorted-for-peer", action="store_true", help="give TRL each step's pairs by length")
    parser.add_argument("--unchecked", action="store_true", help="skip the check that both compute the same")
    asked = parser.parse_args()
    if asked.repeats < 3:
        parser.error(f"--repeats must be at least 3 for a median and a spread, got {asked.repeats}.")
    return asked


if __name__ == "__main__":
    main()
