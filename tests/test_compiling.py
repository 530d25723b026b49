"""Whether a run's steps are compiled, where nobody says: as its machine can, and on it goes as it began."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_session import QUICK
from truenorth import align, job, players
from truenorth.evaluate.progress import Silent
from truenorth.methods import recipe
from truenorth.optim.compiled import obstacle
from truenorth.optim.hfac import HFac
from truenorth.processes import ALONE, Group
from truenorth.recipe import Recipe
from truenorth.train.checkpoint import Progress

NO_COMPILER = "there is none"
needs_compiler = pytest.mark.skipif(obstacle() is not None, reason="no C compiler that knows OpenMP")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU nothing is compiled unasked")


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, line: str) -> None:
        self.lines.append(line)


class Elsewhere(Group):
    """Two processes, of which the other has no compiler."""

    def gather(self, value: Any) -> list[Any]:
        return [value, NO_COMPILER]


def asked(compiled: bool | None = None) -> Recipe:
    return recipe("dpo").replace(update=HFac(learning_rate=1e-2, compile=compiled))


@pytest.fixture
def run(model: str, pairs: str) -> Callable[..., list[Any]]:
    """What a run has logged, without times."""

    def _run(out: Path, compiled: bool | None = None, **settings: Any) -> list[Any]:
        settings = QUICK | {"max_steps": 4, "save_every": 1} | settings
        align(asked(compiled), model=model, data=pairs, out=out, **settings)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]

    return _run


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(players, "obstacle", lambda: NO_COMPILER)


@needs_compiler
def test_a_run_compiles_where_it_can(run: Callable[..., Any], tmp_path: Path) -> None:
    found = run(tmp_path / "open")
    assert found == run(tmp_path / "compiled", compiled=True)
    assert found != run(tmp_path / "operations", compiled=False)  # rounded elsewhere, so that the test could fail


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_a_run_takes_operations_and_says_so(run: Callable[..., Any], tmp_path: Path) -> None:
    heard = Heard()
    assert run(tmp_path / "open", watch=heard) == run(tmp_path / "operations", compiled=False)
    assert any(f"steps are not compiled: {NO_COMPILER}" in line for line in heard.lines)


@needs_compiler
@pytest.mark.parametrize("begun", [True, False], ids=["compiled", "by operations"])
def test_a_resumed_run_goes_on_as_it_began(
    begun: bool, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as first:
        if not begun:
            first.setattr(players, "obstacle", lambda: NO_COMPILER)
        train = job.train
        first.setattr(job, "train", lambda p, plan, at: train(p, dataclasses.replace(plan, stop_after=2), at))
        run(tmp_path / "parts")
    assert run(tmp_path / "parts", resume=True) == run(tmp_path / "whole", compiled=begun)


def test_the_compiler_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    monkeypatch.setattr(players, "obstacle", lambda: NO_COMPILER)
    assert players.compiling(asked(), Progress(compiled=True), ALONE, heard).update.compile is False
    assert "Until now they were" in heard.lines[0]


def test_processes_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(players, "obstacle", lambda: None)
    heard = Heard()
    assert players.compiling(asked(), None, ALONE, heard).update.compile
    assert players.compiling(asked(), None, Elsewhere(size=2), heard).update.compile is False
    assert heard.lines


def test_nothing_is_said_where_nothing_could_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(players, "obstacle", lambda: NO_COMPILER)
    heard = Heard()
    assert players.compiling(recipe("dpo"), None, ALONE, heard).update.compile is False
    assert not heard.lines
