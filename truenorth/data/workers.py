"""Further processes of this interpreter, for work on rows: they import nothing but what they are sent.

A process is started as a command, not forked: a fork would copy the locks of other threads (torch, Arrow, tokenizers)
in whatever state they are, and what `multiprocessing` spawns runs the user's script again where that has no guard.
"""

import os
import pickle
import queue
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Self, TypeVar

from ..errors import DataError, ModelError

T = TypeVar("T")
Said = Callable[[str], None]
SAID_EVERY = 30.0  # seconds
VARIABLE = "TRUENORTH_DATA_PROCESSES"
# One thread each: the processes share the cores already.
ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


def wanted_processes() -> int:
    """`$TRUENORTH_DATA_PROCESSES`, or one for each core that this process may use. Raises DataError for no count."""
    if given := os.environ.get(VARIABLE):
        if not given.isdecimal() or int(given) < 1:
            raise DataError(f"{VARIABLE} must be a count of processes, 1 or more, got {given!r}.")
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def now_and_then(said: Said | None) -> Said:
    """Passes on what it is told, but at most twice a minute, and nothing of the first half minute."""
    due = time.monotonic() + SAID_EVERY

    def tell(sentence: str) -> None:
        nonlocal due
        if said is not None and time.monotonic() >= due:
            due = time.monotonic() + SAID_EVERY
            said(sentence)

    return tell


class Workers:
    """`count` processes that call functions of this package; with one, this process does so itself."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers = [_Worker() for _ in range(count)] if count > 1 else []
        self._threads = ThreadPoolExecutor(count)  # each waits for one worker

    def map(self, function: Callable[..., T], tasks: Iterable[tuple[Any, ...]]) -> Iterator[T]:
        """`function(*task)` of each task, in their order; a few tasks are taken ahead.

        What the function holds (`partial`) is sent once to each process. Raises what the function raises, if it is a
        DataError or ModelError, and RuntimeError if a process dies.
        """
        if not self._workers:
            yield from (function(*task) for task in tasks)
            return
        message, free = pickle.dumps(function), queue.SimpleQueue[_Worker]()
        for worker in self._workers:
            worker.tell(message)
            free.put(worker)

        def call(task: tuple[Any, ...]) -> T:
            worker = free.get()
            try:
                return worker.ask(task)
            finally:
                free.put(worker)

        pending = deque[Future[T]]()
        try:
            for task in tasks:
                pending.append(self._threads.submit(call, task))
                if len(pending) > 2 * self.count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            wait(pending)  # a process that still works must not be told of the next function

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self._threads.shutdown()


class _Worker:
    """This side's end of one process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
        )

    def tell(self, function: bytes) -> None:
        """What to call from now on, pickled."""
        self._send(function)

    def ask(self, task: tuple[Any, ...]) -> Any:
        assert self._process.stdout is not None
        self._send(pickle.dumps(task))
        try:
            good, answer = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError) as error:  # it died before its answer, or in the middle of it
            raise self._died() from error
        if not good:
            raise answer
        return answer

    def end(self) -> None:
        self._process.kill()  # it holds nothing that could break: whatever it made was handed over
        self._process.communicate()

    def _send(self, message: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._died() from error

    def _died(self) -> RuntimeError:
        code = self._process.wait()
        return RuntimeError(
            f"a process that prepares rows has ended with code {code}; what it said stands above. "
            f"If memory ran out, set {VARIABLE} to fewer than now."
        )


def serve() -> None:
    """The worker's end: calls what it is told with what it is sent, until there is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not fall among the answers
    function: Callable[..., object] | None = None
    while True:
        try:
            message = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if not isinstance(message, tuple):
            function = message
            continue
        assert function is not None
        try:
            answer = (True, function(*message))
        except (DataError, ModelError) as error:
            answer = (False, error)
        pickle.dump(answer, answers)
        answers.flush()
