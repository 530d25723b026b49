"""Time optimizer steps against another library: `benchmarks/step.py --against trl`. See benchmarks/README.md."""

import argparse
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import results
import rows
from agreement import check
from comparison import ALLOCATORS, SETTINGS, How, Setting, sides
from results import Result

WARM_UP = 2  # steps that are taken and not counted


@dataclass(frozen=True, slots=True)
class Steps:
    """One side's steps, in the order in which they were taken."""

    seconds: list[float]
    work: list[float]  # processor seconds
    peak: int  # bytes, over the whole life of the process

    @classmethod
    def of(cls, records: Sequence[dict[str, float]]) -> "Steps":
        counted = records[WARM_UP:]
        return cls(
            seconds=[record["seconds"] for record in counted],
            work=[record["work"] for record in counted],
            peak=max(int(record["peak"]) for record in records),
        )

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True, slots=True)
class Timed:
    """The same steps of both sides, TRL's by its batch size."""

    ours: Steps
    theirs: dict[int, Steps]
    versions: str

    @property
    def best(self) -> int:
        """The batch size with which TRL is fastest: the one it is compared at."""
        return min(self.theirs, key=lambda size: self.theirs[size].median)

    def ratio(self, size: int) -> float:
        return self.theirs[size].median / self.ours.median

    def work_ratio(self, size: int) -> float:
        return statistics.median(self.theirs[size].work) / statistics.median(self.ours.work)


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
                sorted_for_peer=asked.sorted_for_peer,
            )
            timed = time_steps(setting, how, asked.pairs_at_once)
            for size in sorted(timed.theirs):
                _record(setting, how, timed, size, checked=not asked.unchecked)
                print(_line(setting, how, timed, size), flush=True)
            ratios.append(f"{name} {allocator} {timed.ratio(timed.best):.2f}x")
    print("TrueNorth's step is faster than the faster of TRL's by: " + ", ".join(ratios))


def time_steps(setting: Setting, how: How, pairs_at_once: Sequence[int]) -> Timed:
    """The same steps of all sides in turn, after a warm-up."""
    with sides(setting, how, pairs_at_once) as (ours, theirs):
        taken = [[side.ask("step") for side in (ours, *theirs)] for _ in range(how.steps)]
        versions = " ".join(f"{name} {theirs[0].ready[name]}" for name in ("trl", "transformers", "torch"))
    first, *others = (Steps.of(side) for side in zip(*taken, strict=True))
    return Timed(first, dict(zip(pairs_at_once, others, strict=True)), versions)


def _record(setting: Setting, how: How, timed: Timed, size: int, *, checked: bool) -> None:
    theirs = timed.theirs[size]
    notes = [f"allocator {how.allocator}", f"{how.threads} threads", f"TRL {size} pairs at once"]
    notes += [f"TRL is faster with {timed.best}"] * (size != timed.best)
    notes += ["TRL's pairs sorted by length in each step"] * how.sorted_for_peer
    notes += ["not checked that both compute the same"] * (not checked)
    notes += ["rows made up"] * (rows.folder() is None)
    result = Result(
        date=results.now(),
        commit=results.commit(),
        machine=results.machine(),
        versions=timed.versions,
        setting=f"({setting.name}) {setting.what}, {setting.prompts} prompts a step",
        ours=timed.ours.median,
        theirs=theirs.median,
        ours_spread=results.spread(timed.ours.seconds),
        theirs_spread=results.spread(theirs.seconds),
        ratio=timed.ratio(size),
        work_ratio=timed.work_ratio(size),
        ours_peak_gb=timed.ours.peak / 1e9,
        theirs_peak_gb=theirs.peak / 1e9,
        repeats=len(theirs.seconds),
        note="; ".join(notes),
    )
    results.append(result)


def _line(setting: Setting, how: How, timed: Timed, size: int) -> str:
    ours, theirs = timed.ours, timed.theirs[size]
    return (
        f"({setting.name}) {setting.what:36s} {how.allocator:8s} "
        f"ours {ours.median:6.2f} s ({results.spread(ours.seconds):4.0%})  "
        f"TRL, {size:2d} at once {theirs.median:6.2f} s ({results.spread(theirs.seconds):4.0%})  "
        f"peak {ours.peak / 1e9:5.2f} / {theirs.peak / 1e9:5.2f} GB  {timed.ratio(size):5.2f}x "
        f"(processor time {timed.work_ratio(size):.2f}x)"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", choices=["trl"], required=True, help="the peer")
    parser.add_argument("--setting", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=5, help="steps that count, of each side")
    parser.add_argument("--allocator", nargs="+", choices=list(ALLOCATORS), default=list(ALLOCATORS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--pairs-at-once",
        type=int,
        nargs="+",
        default=[2, 4],
        help="TRL's per_device_train_batch_size: one more TRL for each, and the fastest is compared with",
    )
    parser.add_argument("--sorted-for-peer", action="store_true", help="give TRL each step's pairs by length")
    parser.add_argument("--unchecked", action="store_true", help="skip the check that both compute the same")
    asked = parser.parse_args()
    if asked.repeats < 3:
        parser.error(f"--repeats must be at least 3 for a median and a spread, got {asked.repeats}.")
    for setting in map(SETTINGS.get, asked.setting):
        assert setting is not None
        pairs = setting.prompts * (setting.answers - 1)
        if uneven := [size for size in asked.pairs_at_once if pairs % size]:
            parser.error(f"a step of ({setting.name}) has {pairs} pairs: {uneven} at once does not divide it.")
    return asked


if __name__ == "__main__":
    main()
