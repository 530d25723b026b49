"""A process that fails, dies or hangs ends the others within a minute, with its reason where it has given one."""

import contextlib
import signal
import subprocess

import pytest

from tests.many import start

WAIT = """
import os, signal, sys
from truenorth.errors import DataError
from truenorth.processes import joined
with joined() as world:
    world.wait()
    if world.rank == int(sys.argv[1]):
        if sys.argv[2] == "fails":
            raise DataError("row 7 has no prompt")
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    world.wait()
    print("went on", flush=True)
"""


def end_one(rank: int, how: str, *, seconds: float) -> list[tuple[int, str]]:
    """Exit code and output of two processes, of which one ends; no launcher is there to end the other."""
    began = start(2, ["-c", WAIT, str(rank), how])
    try:
        began[1 - rank].wait(seconds)  # raises if it hangs
        with contextlib.suppress(subprocess.TimeoutExpired):
            began[rank].wait(10)  # stopped ones never end
    finally:
        for process in began:
            process.kill()
    outputs = [process.communicate()[0] for process in began]
    return [(process.returncode, output) for process, output in zip(began, outputs, strict=True)]


def test_a_process_that_fails_ends_the_others_with_its_reason() -> None:
    ends = end_one(1, "fails", seconds=60)
    assert [code for code, _ in ends] == [1, 1]
    assert "process 1 has failed. DataError: row 7 has no prompt" in ends[0][1]
    assert not any("went on" in output for _, output in ends)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_others(rank: int) -> None:
    ends = end_one(rank, "SIGKILL", seconds=60)
    assert (ends[rank][0], ends[1 - rank][0]) == (-signal.SIGKILL, 1)
    assert "has ended or cannot be reached" in ends[1 - rank][1] or "has ended, or hangs" in ends[1 - rank][1]


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_others() -> None:
    ends = end_one(1, "SIGSTOP", seconds=60)
    assert ends[0][0] == 1
    assert "process 1 has ended, or hangs: it was not heard of for 30 s" in ends[0][1]
