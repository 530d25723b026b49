"""How a run shows itself while it goes: a live line in a terminal, a few plain lines anywhere else."""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from ..launch import place
from .round_text import of_round

SHOWN: tuple[tuple[str, str, str], ...] = (  # metric, what the line calls it, format
    ("loss", "loss", ".4f"),
    ("rewards/accuracies", "accuracy", ".0%"),
    ("rewards/margins", "margin", "+.3f"),
    ("kl/initial", "drift", ".2f"),
)
QUIET_SECONDS = 30.0  # between two plain lines, so that a log file of a long run stays short


class Watch(Protocol):
    """What a run tells while it goes. The four calls may come in any order and any number."""

    def said(self, sentence: str) -> None:
        """A sentence that stays on the screen."""
        ...

    def stage(self, name: str) -> None:
        """What is done from now on, for instance `reading the data`."""
        ...

    def total_steps(self, n: int) -> None:
        """How many optimizer steps the run has."""
        ...

    def logged(self, record: Mapping[str, object]) -> None:
        """A line of metrics.jsonl."""
        ...


class Silent:
    """Tells nothing: for tests, and for all processes but the first."""

    def said(self, sentence: str) -> None:
        del sentence

    def stage(self, name: str) -> None:
        del name

    def total_steps(self, n: int) -> None:
        del n

    def logged(self, record: Mapping[str, object]) -> None:
        del record


class QuietWatch:
    """Plain lines: every sentence and stage, the first and the last step, and one step each half minute between."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.clock = console, clock
        self.steps: int | None = None
        self._next = 0.0  # when the next line of a step is due; the first is due at once
        self._stage, self._next_stage = "", 0.0  # without its numbers, and when its next line is due

    def said(self, sentence: str) -> None:
        _plainly(self.console, sentence)

    def stage(self, name: str) -> None:
        what = re.sub(r"\d+", "", name)
        if what == self._stage and self.clock() < self._next_stage:  # so many of so many, again
            return
        self._stage, self._next_stage = what, self.clock() + QUIET_SECONDS
        _plainly(self.console, f"{name} ...")

    def total_steps(self, n: int) -> None:
        self.steps = n

    def logged(self, record: Mapping[str, object]) -> None:
        if record.get("split") == "round":
            self.said(of_round(record))
            return
        held_out = record.get("split") == "eval"
        if not held_out and record.get("step") != self.steps and self.clock() < self._next:
            return
        if not held_out:
            self._next = self.clock() + QUIET_SECONDS
        of = "" if self.steps is None else f"/{self.steps}"
        where = f"{'held out, ' if held_out else ''}step {record.get('step')}{of}"
        _plainly(self.console, f"{where}  {summary(record)}")


class TerminalWatch:
    """A spinner that names the stage; during training a bar with the newest numbers and the time that is left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=7),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}", style="cyan"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._waiting = Progress(
            SpinnerColumn(), TextColumn("{task.description} ..."), console=console, transient=True
        )
        self._live: Progress | None = None

    def said(self, sentence: str) -> None:
        self.console.print(escape(sentence), highlight=False)

    def stage(self, name: str) -> None:
        self._show(self._waiting)
        for task in self._waiting.task_ids:
            self._waiting.remove_task(task)
        self._waiting.add_task(escape(name), total=None)

    def total_steps(self, n: int) -> None:
        for task in self._progress.task_ids:
            self._progress.remove_task(task)
        self._progress.add_task("training", total=n, numbers="")

    def logged(self, record: Mapping[str, object]) -> None:
        if record.get("split") == "round":
            self.said(of_round(record))
            return
        if record.get("split") == "eval":
            self.said(f"held out at step {record.get('step')}: {summary(record)}")
            return
        if not self._progress.task_ids:
            self._progress.add_task("training", total=None, numbers="")
        step = record.get("step")
        done = float(step) if isinstance(step, int) else None
        self._progress.update(self._progress.task_ids[0], completed=done, numbers=summary(record))
        self._show(self._progress)

    def _show(self, progress: Progress) -> None:
        """Let `progress` be the one on the screen: rich draws one at a time."""
        if self._live is progress:
            return
        self._hide()
        progress.start()
        self._live = progress

    def _hide(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hide()


def watching(console: Console) -> AbstractContextManager[Watch]:
    """The watch that suits where `console` writes to, as a context: the first process alone speaks."""
    if place().rank != 0:
        return nullcontext(Silent())
    return TerminalWatch(console) if console.is_terminal else nullcontext(QuietWatch(console))


def summary(record: Mapping[str, object]) -> str:
    """The numbers of a record that a reader follows, in one line.

    >>> summary({"step": 3, "loss": 0.69312, "rewards/accuracies": 0.5, "grad_norm": 1.0})
    'loss 0.6931  accuracy 50%'
    """
    parts: list[str] = []
    for metric, name, form in SHOWN:
        value = record.get(metric)
        if isinstance(value, float | int):
            parts.append(f"{name} {value:{form}}")
    return "  ".join(parts)


def _plainly(console: Console, text: str) -> None:
    """One line as it is: no markup, no colour, no wrapping to a width that a file does not have."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
