"""results.csv: one header, a line per result, and never two kinds of lines in one file."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "results.py"
SPEC = importlib.util.spec_from_file_location("benchmark_results", FILE)
assert SPEC is not None
assert SPEC.loader is not None
results = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = results  # dataclasses look their module up
SPEC.loader.exec_module(results)

RESULT = results.Result(
    date="2026-01-01 00:00",
    commit="abc",
    machine="a processor, 2 cores",
    versions="torch 2",
    setting="(a)",
    ours=1.23456,
    theirs=6.0,
    ours_spread=0.01,
    theirs_spread=0.02,
    ratio=4.86,
    work_ratio=4.9,
    ours_peak_gb=1.0,
    theirs_peak_gb=2.0,
    repeats=5,
    note="",
)


def test_a_new_file_gets_a_header_and_a_second_result_does_not(tmp_path: Path) -> None:
    results.append(RESULT, tmp_path / "results.csv")
    results.append(replace(RESULT, setting="(b)"), tmp_path / "results.csv")
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["date", "2026-01-01 00:00", "2026-01-01 00:00"]


def test_measured_numbers_keep_four_digits(tmp_path: Path) -> None:
    results.append(RESULT, tmp_path / "results.csv")
    assert ",1.235,6," in (tmp_path / "results.csv").read_text()


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("date,seconds\n")
    with pytest.raises(ValueError, match="Move it away first"):
        results.append(RESULT, tmp_path / "results.csv")


def test_the_spread_of_equal_times_is_zero() -> None:
    assert results.spread([2.0, 2.0, 2.0]) == 0.0
