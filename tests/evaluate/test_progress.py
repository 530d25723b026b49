"""What a run says while it goes."""

import io
import re

import pytest
from rich.console import Console

from truenorth.evaluate.progress import QUIET_SECONDS, QuietWatch, Silent, TerminalWatch, Watch, watching

RECORD = {"split": "train", "loss": 0.69312, "rewards/accuracies": 0.5, "rewards/margins": 0.1, "kl/initial": 12.5}


def quiet() -> tuple[QuietWatch, io.StringIO, list[float]]:
    out, now = io.StringIO(), [0.0]
    return QuietWatch(Console(file=out, width=40), clock=lambda: now[0]), out, now


def terminal(width: int) -> tuple[TerminalWatch, io.StringIO]:
    out = io.StringIO()
    return TerminalWatch(Console(file=out, force_terminal=True, width=width, color_system=None)), out


def drawn(out: io.StringIO) -> list[str]:
    """Every line that was ever on the screen, without control codes."""
    return [line.rstrip() for line in re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()))]


def test_a_long_run_without_a_terminal_writes_two_lines_a_minute() -> None:
    watch, out, now = quiet()
    watch.total_steps(600)
    for step in range(1, 601):
        now[0] = float(step)
        watch.logged({"step": step, **RECORD})
    lines = out.getvalue().splitlines()
    assert len(lines) == 600 / QUIET_SECONDS + 1
    assert lines[0].startswith("step 1/600  loss 0.6931")
    assert lines[-1].startswith("step 600/600")


def test_a_stage_that_counts_writes_two_lines_a_minute_and_a_new_one_at_once() -> None:
    watch, out, now = quiet()
    for done in range(60):
        now[0] = float(done)
        watch.stage(f"answering: {done} of 60 prompts")
    watch.stage("judging")
    assert out.getvalue().splitlines() == [
        *(f"answering: {done} of 60 prompts ..." for done in range(0, 60, int(QUIET_SECONDS))),
        "judging ...",
    ]


def test_held_out_numbers_are_written_whenever_they_come() -> None:
    watch, out, _ = quiet()
    for _ in range(3):
        watch.logged(RECORD | {"step": 5, "split": "eval"})
    assert out.getvalue().count("held out") == 3


def test_a_sentence_stays_one_line_and_keeps_its_brackets() -> None:
    sentence = "A sentence [of a file] that is longer than the forty columns there are."
    watch, out, _ = quiet()
    watch.said(sentence)
    assert out.getvalue() == sentence + "\n"


@pytest.mark.parametrize("width", [80, 120])
def test_the_numbers_fit_a_terminal(width: int) -> None:
    watch, out = terminal(width)
    with watch:
        watch.total_steps(1200)
        watch.logged({"step": 1024, **RECORD})
    line = next(line for line in drawn(out) if "loss" in line)
    assert "1024/1200 loss 0.6931  accuracy 50%  margin +0.100  drift 12.50" in line
    assert len(line) <= width


def test_a_terminal_shows_the_stage_and_leaves_only_sentences() -> None:
    watch, out = terminal(80)
    with watch:
        watch.stage("reading the data")
        watch.said("All is [well].")
        watch.stage("training")
    assert any("reading the data ..." in line for line in drawn(out))
    assert "All is [well]." in drawn(out)
    assert out.getvalue().endswith("\x1b[2K")  # the last stage is wiped off


def chosen(console: Console) -> type[Watch]:
    with watching(console) as watch:
        return type(watch)


def test_no_terminal_gets_plain_lines() -> None:
    assert chosen(Console(file=io.StringIO())) is QuietWatch
    assert chosen(Console(file=io.StringIO(), force_terminal=True)) is TerminalWatch


def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "here", "MASTER_PORT": "1"}
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    assert chosen(Console()) is Silent


@pytest.mark.parametrize("kind", [Silent, QuietWatch, TerminalWatch])
def test_each_is_a_watch(kind: type[Watch]) -> None:
    assert all(hasattr(kind, name) for name in ("said", "stage", "total_steps", "logged"))
