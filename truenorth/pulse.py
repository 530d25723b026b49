"""How processes notice that one of them has failed: each leaves a beat in a shared store and listens to the others.

A collective operation waits for all processes, so one that dies would leave the others hanging. They end instead,
within a minute, and the first of them that can says why.
"""

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from .errors import ProcessError
from .launch import Place

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

BEAT = 1.0  # seconds between two beats of a process
SILENT = 30.0  # seconds without a beat after which a process counts as dead; a busy one may miss a few
PAUSE = 10.0  # seconds without listening after which a process knows that it was stopped, as by a batch system
GRACE = 3.0  # seconds in which a process that learns of a failure may end by itself
# What gloo and nccl say, in plain RuntimeErrors, when the other end is gone.
BROKEN = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL")
ADVICE = "Its own output says why. Go on from the last checkpoint with --resume."


class Pulse:
    """This process's beat, and its ear for those of the others."""

    def __init__(self, store: "Store", here: Place) -> None:
        self._store, self._here = store, here
        self._others = [rank for rank in range(here.count) if rank != here.rank]
        now = time.monotonic()
        self._heard: dict[int, tuple[bytes, float]] = dict.fromkeys(self._others, (b"", now))  # last beat, since when
        self._listened = now
        self._stopped = threading.Event()
        self._beats = 0
        self._beat()  # before the others listen: a key that is not there makes them wait

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="pulse").start()

    def stop(self) -> None:
        """The run ends well: nobody listens any more."""
        self._stopped.set()

    def failed(self, error: BaseException) -> None:
        """This process ends by `error`: tell the others why.

        Raises ProcessError in its place where it comes of another process's end, and SystemExit where the first
        process says already what there is to say.
        """
        self._stopped.set()
        cause = self._of_another(error)
        if cause is None:
            self._set("failed", f"{type(error).__name__}: {error}")
        if self._here.rank == 0:
            self._tell()
        elif self._told_by_the_first():
            raise SystemExit(1) from None
        if cause is not None:
            raise ProcessError(cause) from error

    def _run(self) -> None:
        while not self._stopped.wait(BEAT):
            try:
                self._beat()
                self._listen()
                cause = self._failure() or self._silence(SILENT)
            except RuntimeError:
                cause = f"the process that the others meet at, number 0, cannot be reached. {ADVICE}"
            if cause is not None and not self._stopped.wait(GRACE):
                self._end(cause)

    def _beat(self) -> None:
        self._beats += 1
        self._set("beat", str(self._beats))

    def _listen(self) -> None:
        beats = self._store.multi_get([f"beat/{rank}" for rank in self._others])
        now = time.monotonic()
        paused = now - self._listened > PAUSE  # this process itself was: the others may have been with it
        self._listened = now
        for rank, beat in zip(self._others, beats, strict=True):
            if paused or beat != self._heard[rank][0]:
                self._heard[rank] = (beat, now)

    def _failure(self) -> str | None:
        """What a process that has failed says of it, the lowest one's words."""
        for rank in self._others:
            if self._store.check([f"failed/{rank}"]):
                return f"process {rank} has failed. {self._store.get(f'failed/{rank}').decode()}"
        return None

    def _silence(self, seconds: float) -> str | None:
        """Which process was not heard of for so long, if there is one."""
        now = time.monotonic()
        for rank, (_, when) in self._heard.items():
            if now - when > seconds:
                return f"process {rank} has ended, or hangs: it was not heard of for {now - when:.0f} s. {ADVICE}"
        return None

    def _of_another(self, error: BaseException) -> str | None:
        """Whose end `error` comes of, in words; None where it is this process's own."""
        if not isinstance(error, RuntimeError) or not any(sign in str(error) for sign in BROKEN):
            return None
        until = time.monotonic() + 6 * BEAT
        try:
            while time.monotonic() < until:
                self._beat()
                self._listen()
                if (cause := self._failure() or self._silence(3 * BEAT)) is not None:
                    return cause
                time.sleep(BEAT / 4)
        except RuntimeError:
            pass  # the store is gone with the process that held it
        first_line = str(error).strip().splitlines()[0]
        return f"another process has ended or cannot be reached ({first_line}). {ADVICE}"

    def _tell(self) -> None:
        """The first process speaks: the others may end quietly, while the store that it may hold is still there."""
        with contextlib.suppress(RuntimeError):
            self._set("told", "")
            time.sleep(BEAT)

    def _told_by_the_first(self) -> bool:
        until = time.monotonic() + 3 * GRACE
        try:
            while time.monotonic() < until:
                if self._store.check(["told/0"]):
                    return True
                time.sleep(BEAT / 4)
        except RuntimeError:
            pass
        return False

    def _end(self, cause: str) -> NoReturn:
        """End this process, whose main thread waits for one that will not come."""
        if self._here.rank == 0 or not self._told_by_the_first():
            sys.stderr.write(f"Error: {cause}\n")
        if self._here.rank == 0:
            self._tell()
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(1)

    def _set(self, key: str, value: str) -> None:
        self._store.set(f"{key}/{self._here.rank}", value)
