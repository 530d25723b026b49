from pathlib import Path

from tests.synthetic_run import ill, write_run
from truenorth.evaluate.artifacts import read
from truenorth.evaluate.terminal import WIDTH, summary_lines


def test_the_summary_begins_with_the_headline_and_ends_with_the_report(tmp_path: Path) -> None:
    lines = summary_lines(read(write_run(tmp_path)), Path("runs/exo/report.html"))
    assert lines[0].startswith("EXO moved the policy 3.1 nats")
    assert lines[-1] == "Report: runs/exo/report.html"


def test_each_problem_is_followed_by_the_setting_to_turn(tmp_path: Path) -> None:
    lines = summary_lines(read(write_run(tmp_path, ill())))
    problems = sum(line.startswith(("x ", "! ")) for line in lines)
    assert problems == sum(line.startswith("  Turn: ") for line in lines) > 0


def test_findings_are_wrapped_to_the_width_of_a_terminal(tmp_path: Path) -> None:
    lines = summary_lines(read(write_run(tmp_path, ill())))
    assert all(len(line) <= WIDTH for line in lines[2:])
