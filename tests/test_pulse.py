"""A process that fails, dies or hangs ends the others within a minute, with its reason where it has given one."""

import contextlib
import signal
import subprocess

import pytest
from torch.distributed import HashStore

from tests.many import start
from truenorth import pulse
from truenorth.launch import Place

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


def test_who_was_stopped_itself_listens_anew_before_it_calls_others_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(pulse.time, "monotonic", lambda: clock[0])
    store = HashStore()
    ours, _ = (pulse.Pulse(store, Place(rank, 2)) for rank in range(2))

    def silence_after(seconds: float, *, every: float) -> str | None:
        """What is heard when both were stopped, or the other one alone, for so long."""
        for _ in range(round(seconds / every)):
            clock[0] += every
            ours._listen()
        return ours._silence(pulse.SILENT)

    assert silence_after(600.0, every=600.0) is None
    assert "process 1 has ended, or hangs" in str(silence_after(pulse.SILENT + 2, every=pulse.BEAT))


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_others() -> None:
    ends = end_one(1, "SIGSTOP", seconds=60)
    assert ends[0][0] == 1
    assert "process 1 has ended, or hangs: it was not heard of for 30 s" in ends[0][1]
