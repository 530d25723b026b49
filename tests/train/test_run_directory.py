"""Who may train in a run directory: one process at a time, and none that would write over a run."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from truenorth.errors import SettingsError
from truenorth.train.run_directory import RunDirectory, check_directory

HOLD = """
import sys, time
from pathlib import Path
from truenorth.train.run_directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(600)
"""


def holder(out: Path) -> "subprocess.Popen[str]":
    """Another process that holds `out`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_by_the_name_of_the_first_and_a_dead_one_is_not_waited_for(tmp_path: Path) -> None:
    first = holder(tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    who = f"process {first.pid} on {socket.gethostname()}"
    with pytest.raises(SettingsError, match=rf"being trained by {who}\. .* choose another --out"):
        directory.refuse_if_held()
    with pytest.raises(SettingsError, match=who), directory.held():
        pass
    first.send_signal(signal.SIGKILL)
    first.communicate()
    with directory.held():
        assert (tmp_path / "run" / ".lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_directory_is_free_once_its_run_has_ended(tmp_path: Path) -> None:
    for _ in range(2):
        with RunDirectory(tmp_path).held():
            pass
    RunDirectory(tmp_path).refuse_if_held()


def test_a_lock_alone_is_no_run(tmp_path: Path) -> None:
    with RunDirectory(tmp_path).held():
        check_directory(tmp_path, {}, resume=False)


def test_a_file_system_without_locks_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(_: int, __: int) -> None:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(fcntl, "flock", without)
    with RunDirectory(tmp_path).held():
        assert (tmp_path / ".lock").exists()


def test_a_folder_that_holds_something_else_is_no_run_directory(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="exists and is no run directory"):
        check_directory(tmp_path, {}, resume=False)
