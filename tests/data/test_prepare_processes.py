"""However many processes prepare the rows, together or one after another's death, the cache holds the same."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.tokenizers import CHATML, byte_level
from truenorth.data import parts
from truenorth.data.loader import Steps
from truenorth.data.options import DataSettings
from truenorth.data.prepare import Prepared, prepare
from truenorth.data.workers import VARIABLE
from truenorth.errors import DataError

SETTINGS = DataSettings(on_problem="drop", too_long="drop", max_length=60, max_problem_share=0.5)
# What a process of its own runs: parts are small, and each takes a moment, so that a kill falls between them.
SCRIPT = """
import sys, time
from tests.data.test_prepare_processes import SETTINGS, tokenizer
from truenorth.data import parts, prepare as module
parts.BYTES = 2000
whole = module.RowsFile.append
def slow(self, *given):
    whole(self, *given)
    time.sleep(float(sys.argv[3]))
module.RowsFile.append = slow
try:
    rows = module.prepare([(sys.argv[1], 1.0)], tokenizer(), settings=SETTINGS, cache=module.Path(sys.argv[2])).rows
except ValueError as error:
    raise SystemExit(str(error))
print(rows.identity)
"""


def tokenizer() -> object:
    return byte_level(CHATML)


def made(i: int) -> object:
    """Row `i` of a file in which some rows repeat others, contradict them, are too long, or hold nothing."""
    if i % 11 == 3:
        return "{"
    row = {"prompt": f"what is {i % 70}?", "chosen": f"it is {i % 70}", "rejected": "no idea"}
    if i % 13 == 5:
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    return row | ({"rejected": "no " * 90} if i % 17 == 6 else {})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in map(made, range(150)))
    )
    return path


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BYTES", 2000)
    monkeypatch.setattr("truenorth.data.prepare.BYTES", 2000)


def prepared(file: Path, cache: Path) -> Prepared:
    return prepare([(str(file), 1.0)], tokenizer(), settings=SETTINGS, cache=cache)


def contents(cache: Path) -> dict[str, bytes]:
    """Names and bytes of all files in a cache, but for the empty lock."""
    return {path.name: path.read_bytes() for path in cache.rglob("*") if path.is_file() and path.name != "lock"}


def child(file: Path, cache: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that prepares the rows, with a pause of so many seconds behind each part."""
    command = [sys.executable, "-c", SCRIPT, str(file), str(cache), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, cache: Path) -> None:
    deadline = time.monotonic() + 60
    while not any(found.stat().st_size for found in cache.rglob(path.name)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes in one go."""
    cache = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "BYTES", 2000)
        found = prepared(file, cache)
    assert {"unparsable", "too_long", "contradiction", "duplicate"} <= found.account.reasons.keys()
    assert found.account.read == 150 == found.account.kept + found.account.dropped
    return contents(cache)


def test_two_processes_prepare_the_same_bytes_as_one(
    file: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "2")
    prepared(file, tmp_path)
    assert contents(tmp_path) == whole


def test_one_part_and_many_give_the_same_rows_and_account(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = prepared(file, tmp_path / "many")
    monkeypatch.setattr(parts, "BYTES", 10**9)
    one = prepared(file, tmp_path / "one")
    assert (one.account, one.layouts, one.statistics) == (many.account, many.layouts, many.statistics)
    assert [row.row for row in one.rows] == [row.row for row in many.rows]
    assert one.rows.identity == many.rows.identity


def test_what_a_killed_writer_left_is_completed_to_the_same_bytes(
    file: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    with child(file, tmp_path, 0.3) as killed:
        wait_for(Path("parts.jsonl"), tmp_path)
        os.kill(killed.pid, signal.SIGKILL)
    left = contents(tmp_path)
    assert set(left) == {"rows.arrow.new", "parts.jsonl"}
    assert 0 < left["parts.jsonl"].count(b"\n") < 5
    prepared(file, tmp_path)
    assert contents(tmp_path) == whole


def test_two_at_once_make_one_cache_between_them(file: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    with child(file, tmp_path, 0.1) as first, child(file, tmp_path, 0.1) as second:
        said = [process.communicate()[0] for process in (first, second)]
    assert said[0] == said[1] == prepared(file, tmp_path).rows.identity + "\n"
    assert contents(tmp_path) == whole


def test_one_that_waits_is_told_of_the_refusal_and_does_not_read_again(tmp_path: Path) -> None:
    file, cache = tmp_path / "pairs.jsonl", tmp_path / "cache"
    long = {"prompt": "what is it?", "chosen": "no " * 90, "rejected": "a"}
    file.write_text("".join(json.dumps({**long, "prompt": f"what is {i}?"}) + "\n" for i in range(40)))
    with child(file, cache, 0.3) as writer:
        wait_for(Path("parts.jsonl"), cache)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("truenorth.data.prepare.check_rows", None)  # is not called
            with pytest.raises(DataError, match="No row is left to train on"):
                prepared(file, cache)
        assert "No row is left to train on" in writer.communicate()[1]
    assert set(contents(cache)) == {"refused"}
    with pytest.raises(DataError, match="No row is left"):  # a later run reads the data again
        prepared(file, cache)


def test_the_stream_goes_on_where_it_stopped_after_the_cache_is_opened_again(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "more.jsonl"
    other.write_text(file.read_text().replace("what is", "who is"))
    sources = [(str(file), 0.5), (str(other), 2.0)]

    def steps() -> Steps:
        rows = prepare(sources, tokenizer(), settings=SETTINGS, cache=tmp_path / "cache").rows
        return Steps(rows, 7, seed=3, epochs=2)

    through, again = steps(), steps()
    stop = through.count // 3
    assert stop * 7 < through.epoch_length < (through.count - 1) * 7  # the rest crosses into the second epoch
    for step in range(stop, through.count):
        ours, theirs = (each.batches(step, budget=400) for each in (through, again))
        assert [batch.rows for batch in ours] == [batch.rows for batch in theirs]
        assert all(np.array_equal(a.tokens, b.tokens) for a, b in zip(ours, theirs, strict=True))
