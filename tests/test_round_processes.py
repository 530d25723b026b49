"""Rounds of self-play in two processes: the rows and losses of one, and kills cost nothing there either."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.feeds.test_played import QUICK, lines, short
from tests.many import start
from tests.test_job import weights
from tests.tiny import tiny_directory
from truenorth import align
from truenorth.processes import joined

PLAYED: Mapping[str, Mapping[str, str]] = {
    "online_dpo": {"prompts": "prompts.txt", "judge": "tests.vowels:brief"},
    "spac": {"data": "pairs.jsonl"},
}


def play(files: Path, method: str, out: Path, *, resume: bool = False) -> None:
    """Two rounds of `method`, from a model, prompts and pairs in `files`."""
    given = {name: value if name == "judge" else str(files / value) for name, value in PLAYED[method].items()}
    made = short(method, rounds=2, k=1 if method == "spac" else 2)
    align(made, model=str(files / "sft"), out=out, resume=resume, **QUICK, **given)


def play_all(out: Path) -> None:
    """A run of each method, and one that goes on from what a kill of a process in its second round would leave."""
    for method in PLAYED:
        play(out.parent, method, out / method)
    with joined() as group:
        if group.first:
            cut(out / "online_dpo", out / "killed")
        group.wait()
        play(out.parent, "online_dpo", out / "killed", resume=True)


def cut(whole: Path, copy: Path) -> None:
    """A copy of a run in two rounds whose second one has some of its rows."""
    shutil.copytree(whole, copy)
    for made in ("final", "report.html", "summary.json", "samples.json"):
        (shutil.rmtree if (copy / made).is_dir() else Path.unlink)(copy / made)
    newest = max((copy / "checkpoints").iterdir(), key=lambda path: int(path.name.removeprefix("step-")))
    shutil.rmtree(newest)  # of the run's end: the one before it is of the first round's
    log = copy / "rounds/0002/log.jsonl"
    log.write_text(log.read_text().splitlines(keepends=True)[0])  # what follows in rows.jsonl is half a group's


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With what one process and what two make of the same prompts and pairs."""
    files = tmp_path_factory.mktemp("rounds")
    tiny_directory(files / "sft")
    (files / "prompts.txt").write_text("".join(f"What of number {i}?\n" for i in range(7)))
    pairs = [{"prompt": f"Of {i}?", "chosen": f"It is {i}.", "rejected": f"No idea, {i}!"} for i in range(7)]
    (files / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    for method in PLAYED:
        play(files, method, files / "one" / method)
    (files / "jobs.json").write_text(json.dumps([{"call": f"{__name__}:play_all", "out": str(files / "two")}]))
    began = start(2, ["-m", "tests.many", str(files / "jobs.json")])  # torchrun would take as long as these runs
    output = [process.communicate(timeout=300)[0] for process in began]
    assert [process.returncode for process in began] == [0, 0], "\n".join(output)
    return files


def rows(out: Path) -> list[tuple[dict[str, Any], list[float]]]:
    """All rows of both rounds by place, and beside each the log-probs of its answers: other neighbours round them."""
    found = list[tuple[dict[str, Any], list[float]]]()
    for number in (1, 2):
        read = [json.loads(line) for line in (out / f"rounds/{number:04}/rows.jsonl").read_text().splitlines()]
        found += [(row, row.pop("log_probs", [])) for row in sorted(read, key=lambda row: row["place"])]
    return found


@pytest.mark.parametrize("method", PLAYED)
def test_two_processes_draw_the_same_rows_and_learn_the_same_from_them(method: str, folder: Path) -> None:
    ours, theirs = rows(folder / "two" / method), rows(folder / "one" / method)
    assert [row for row, _ in ours] == [row for row, _ in theirs]
    assert all(a == pytest.approx(b, abs=1e-4) for (_, a), (_, b) in zip(ours, theirs, strict=True))
    for split in ("train", "round"):
        told, expected = (lines(folder / of / method, split) for of in ("two", "one"))
        assert [line.keys() for line in told] == [line.keys() for line in expected]
        for name in {"loss", "prompts", "tokens", "rows", "wins/previous"} & expected[-1].keys():
            assert [line.get(name) for line in told] == pytest.approx([line.get(name) for line in expected], abs=1e-5)


def test_two_processes_go_on_with_a_round_that_was_cut_to_the_same_bits(folder: Path) -> None:
    ours, theirs = folder / "two/killed", folder / "two/online_dpo"
    assert rows(ours) == rows(theirs)
    found, expected = weights(ours), weights(theirs)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
