"""Runs in rounds of self-play, on a tiny model: what comes out, what is refused, and that they survive kills."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_job import weights
from tests.tiny import tiny_directory
from tests.vowels import brief, mute
from truenorth import align
from truenorth.errors import DataError, SettingsError
from truenorth.methods import recipe
from truenorth.models.references import Frozen, Moving, Soup

QUICK: dict[str, Any] = {"batch_size": 4, "precision": "float32", "samples": 1, "max_length": 64}
SHORT = {"rounds": 3, "k": 3, "max_new_tokens": 8}


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("data") / "prompts.txt"
    file.write_text("".join(f"What of number {i}?\n" for i in range(11)))
    return str(file)


def short(method: str = "online_dpo", **changes: Any) -> Any:
    made = recipe(method, learning_rate=1e-2)
    assert made.schedule is not None
    return made.replace(schedule=made.schedule.replace(**SHORT | changes))


def lines(out: Path, split: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["split"] == split]


def test_rounds_are_drawn_judged_and_trained_on(model: str, prompts: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = align(short(), model=model, prompts=prompts, judge=brief, out=out, **QUICK)
    rounds = lines(out, "round")
    assert [line["round"] for line in rounds] == [1, 2, 3]
    assert [line["step"] for line in rounds] == [1, 4, 7]
    assert len(lines(out, "train")) == 9
    assert result.summary["step0"]["drift"] < 1e-4
    assert all(line["rows"] + line["left_out"] == 11 for line in rounds)
    assert all(
        (line.get("left_out/why", "").startswith("I cannot read an x")) == (line["left_out"] > 0) for line in rounds
    )
    assert any("prompts left out, most often because: I cannot read an x" in note for note in result.summary["notes"])
    assert "wins/initial" not in rounds[0]
    assert rounds[1]["wins/initial"] == rounds[1]["wins/previous"]  # the round before is the first
    assert all(0 < line["wins/initial"] < 1 for line in rounds[1:])
    assert "went into drawing answers" in (out / "report.html").read_text()
    assert "Judge&#39;s scores" in (out / "report.html").read_text()
    rows = [json.loads(line) for line in (out / "rounds/0002/rows.jsonl").read_text().splitlines()]
    assert all(row["scores"] == [brief(row["prompt"], answer) for answer in row["responses"]] for row in rows)
    assert all(len(row["responses"]) == 3 and row["made"]["round"] == 2 for row in rows)
    assert (out / "report.html").exists()


def test_rows_of_rounds_train_other_methods(model: str, prompts: str, tmp_path: Path) -> None:
    align(short(rounds=1), model=model, prompts=prompts, judge=brief, out=tmp_path / "run", **QUICK)
    rows = str(tmp_path / "run/rounds/0001/rows.jsonl")
    result = align("exo_rw", model=model, data=rows, out=tmp_path / "offline", on_problem="drop", **QUICK)
    assert result.summary["steps"] > 0


def test_a_reference_that_moves_by_rounds_is_the_policy_at_each_rounds_start(
    model: str, prompts: str, tmp_path: Path
) -> None:
    moving = short().replace(references={"initial": Moving(every=1, unit="rounds", share=1)})
    align(moving, model=model, prompts=prompts, judge=brief, out=tmp_path / "run", **QUICK)
    drift = {line["step"]: line["kl/initial"] for line in lines(tmp_path / "run", "train")}
    assert all(abs(drift[step]) < 1e-4 for step in (1, 4, 7))
    assert all(abs(drift[step]) > 1e-3 for step in (2, 3, 5, 6, 8, 9))


def test_a_soup_is_held_while_rounds_are_played(model: str, prompts: str, tmp_path: Path) -> None:
    other = tiny_directory(tmp_path / "other", seed=1)
    soup = {"initial": Soup(path=str(other), start_share=1.0)}  # the start alone, by way of a second model
    for name, references in (("soup", soup), ("frozen", {"initial": Frozen()})):
        made = short("rloo", rounds=2, prompts="batch").replace(references=references)
        align(made, model=model, prompts=prompts, judge=brief, out=tmp_path / name, **QUICK)
    ours, theirs = weights(tmp_path / "soup"), weights(tmp_path / "frozen")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("online_dpo", {}, "needs --prompts and --judge"),
        ("online_dpo", {"prompts": True, "judge": brief, "max_steps": 3}, "--max-steps would not be read"),
        ("online_dpo", {"prompts": True, "judge": brief, "max_length": 12}, "an answer may have 8"),
        ("dpo", {"judge": brief}, "there is nothing to judge"),
        ("dpo", {}, "needs rows to train on: --data"),
        ("online_dpo", {"prompts": True, "judge": lambda *_: 1.0}, "lambda"),
        ("online_dpo", {"prompts": True, "judge": "tests.vowels:breif"}, "breif"),
        ("online_dpo", {"prompts": True, "judge": "wordl"}, "no judge 'wordl'. Did you mean world?"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_model_is_loaded(
    method: str, given: dict[str, Any], said: str, model: str, prompts: str, tmp_path: Path
) -> None:
    asked: dict[str, Any] = QUICK | given | ({"prompts": prompts} if "prompts" in given else {})
    chosen = short() if method == "online_dpo" else method
    with pytest.raises(SettingsError, match=said):
        align(chosen, model=model, out=tmp_path / "run", **asked)
    assert not (tmp_path / "run").exists()


def test_a_judge_that_says_nothing_is_quoted(model: str, prompts: str, tmp_path: Path) -> None:
    said = r"round 1 of 3: the judge gave no verdict on any of 11 prompts, on \d+ of them because: .*no glasses"
    with pytest.raises(DataError, match=said):
        align(short(), model=model, prompts=prompts, judge=mute, out=tmp_path / "run", **QUICK)


RUN = """
import sys
from tests.feeds.test_played import QUICK, short
from truenorth import align
from truenorth.models.references import Moving
model, prompts, out = sys.argv[1:]
moving = short().replace(references={"initial": Moving(every=1, unit="rounds", share=0.5)})
align(moving, model=model, prompts=prompts, judge="tests.vowels:brief", out=out, resume=True, save_every=2,
      **QUICK)
"""


def killed_until_done(model: str, prompts: str, out: Path, *, kills: int, seed: int) -> int:
    """Run in processes that are killed at random moments of their rounds; how many died."""
    draw, died = random.Random(seed), 0
    command = [sys.executable, "-W", "ignore", "-c", RUN, model, prompts, str(out)]
    while True:
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        if died < kills:
            while process.poll() is None and not (out / f"rounds/{1 + died % 3:04}").exists():
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        if process.returncode == 0:
            return died
        assert process.returncode == -signal.SIGKILL, errors.decode()[-2000:]
        died += 1


def without_seconds(line: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(line).items() if not name.startswith("seconds")}


@pytest.mark.parametrize("kills", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_rounds_that_are_killed_end_with_the_same_bits(kills: int, model: str, prompts: str, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert killed_until_done(model, prompts, whole, kills=0, seed=0) == 0
    killed_until_done(model, prompts, killed, kills=kills, seed=kills)
    ours, theirs = weights(killed), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    logs = [
        [without_seconds(line) for line in (out / "metrics.jsonl").read_text().splitlines()] for out in (whole, killed)
    ]
    assert logs[0] == logs[1]
    rows = [(out / f"rounds/000{n}/rows.jsonl").read_text() for out in (whole, killed) for n in (1, 2, 3)]
    assert rows[:3] == rows[3:]
