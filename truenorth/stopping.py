"""How a command is stopped: SIGTERM, as schedulers and `kill` send it, ends it as Ctrl-C does."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from .launch import place


@contextmanager
def stoppable() -> Generator[None]:
    """Within it SIGTERM raises KeyboardInterrupt, so that there is a last word, where the loop does not catch both.

    Of several processes each ends at once, as before: one that waits for others in a collective would not hear it.
    """
    if place().count > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _as_ctrl_c)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _as_ctrl_c(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
