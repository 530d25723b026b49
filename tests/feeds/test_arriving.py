"""Runs over a stream, on a tiny model: the same bits as over a file, whatever kills them, and an honest regret."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_job import pairs as pairs  # the fixture
from tests.test_job import weights
from truenorth import align
from truenorth.chase import Chase
from truenorth.data.arrivals import StandardInput
from truenorth.data.loader import Steps
from truenorth.errors import CheckpointError, DataError, SettingsError
from truenorth.evaluate.artifacts import read_metrics
from truenorth.feeds import arriving, hindsight, stored
from truenorth.feeds.arriving import came_since, suited
from truenorth.job import start
from truenorth.methods import recipe
from truenorth.models.references import Frozen, Moving, OtherModel
from truenorth.recipe import Recipe
from truenorth.request import Request, request
from truenorth.run import Run
from truenorth.stream import Stream
from truenorth.train.run_directory import RunDirectory

QUICK: dict[str, Any] = {"batch_size": 4, "precision": "float32", "samples": 0, "lora": {"rank": 2}}


def fast(method: str = "dpo", **settings: Any) -> Recipe:
    made = suited(recipe(method, learning_rate=1e-2, **settings))
    return made.replace(update=made.update.replace(warmup_steps=0))


def stream(path: str | Path, **settings: Any) -> dict[str, Any]:
    return {"path": str(path), "idle_seconds": 0, **settings}


def logged(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def request_of(command: str) -> Request:
    """What `truenorth train` reads from a target and flags with one value each."""
    target, *words = shlex.split(command)
    flags = dict(zip(words[::2], words[1::2], strict=True))
    sets = [flags.pop("--set")]
    return request(target, {name[2:]: value for name, value in flags.items()}, sets)


def written(lines: Sequence[str], file: Path) -> Path:
    file.write_text("".join(line + "\n" for line in lines))
    return file


def regret_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "regret.json").read_text())


def same_weights(ours: Path, theirs: Path) -> bool:
    a, b = weights(ours), weights(theirs)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_stream_trains_as_a_file_in_the_same_order_to_the_bit(
    model: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Path(pairs).read_text().splitlines()[:22]  # the last step is a smaller one
    file = written(rows, tmp_path / "pairs.jsonl")
    orders = list[list[int]]()

    def noted(*given: Any, **settings: Any) -> Steps:
        steps = Steps(*given, **settings)
        orders.append([place for step in range(steps.count) for place in steps.indices(step)])
        return steps

    monkeypatch.setattr(stored, "Steps", noted)
    align(fast(), model=model, data=str(file), out=tmp_path / "whole", **QUICK)
    coming = written([rows[place] for place in orders[0]], tmp_path / "coming.jsonl")
    align(fast(), model=model, stream=stream(coming), out=tmp_path / "stream", **QUICK)
    assert same_weights(tmp_path / "stream", tmp_path / "whole")
    assert logged(tmp_path / "stream") == logged(tmp_path / "whole")


@pytest.mark.parametrize(
    "method", ["kto", "reward", *(pytest.param(m, marks=pytest.mark.slow) for m in ("ipo", "exo", "simpo", "aot"))]
)
def test_methods_of_pairs_train_on_a_stream(method: str, model: str, pairs: str, tmp_path: Path) -> None:
    result = align(
        method, model=model, stream=stream(pairs), eval_data=pairs, out=tmp_path / "run", max_steps=2, **QUICK
    )
    assert [line["step"] for line in logged(tmp_path / "run")] == [1, 2, 2]
    assert result.summary["steps"] == 2
    assert regret_of(tmp_path / "run")["steps"] == [1, 2]


def test_bad_rows_are_left_out_and_counted(model: str, pairs: str, tmp_path: Path) -> None:
    rows = Path(pairs).read_text().splitlines()[:8]
    same = json.dumps({"prompt": "hi", "chosen": "a", "rejected": "a"})
    file = written([*rows[:5], "{half", same, *rows[5:]], tmp_path / "rows.jsonl")
    align(fast(), model=model, stream=stream(file), out=tmp_path / "run", **QUICK)
    align(fast(), model=model, stream=stream(written(rows, tmp_path / "good.jsonl")), out=tmp_path / "good", **QUICK)
    assert same_weights(tmp_path / "run", tmp_path / "good")
    account = json.loads((tmp_path / "run" / "account.json").read_text())["account"]
    assert (account["read"], account["kept"], account["dropped"]) == (10, 8, 2)
    left_out = (tmp_path / "run" / "stream" / "left_out.jsonl").read_text().splitlines()
    assert [(n["row"], n["reason"]) for n in map(json.loads, left_out)] == [
        (6, "unparsable"),
        (7, "identical_answers"),
    ]


def test_a_pipe_that_brought_nothing_leaves_no_run(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StandardInput, "read", lambda *_: None)
    for _ in range(2):  # the same command may be given again
        with pytest.raises(DataError, match=r"no row came from standard input before it ended\. .*each line\?$"):
            align(fast(), model=model, stream=stream("-"), out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run" / "run.yaml").exists()


def test_a_rate_of_nothing_has_a_regret_of_exactly_nothing(model: str, pairs: str, tmp_path: Path) -> None:
    still = fast().replace(update=fast().update.replace(learning_rate=1e-30))
    asked = stream(pairs, snapshot_every=1)
    align(still, model=model, stream=asked, out=tmp_path / "run", **QUICK)
    found = regret_of(tmp_path / "run")
    assert found["regret"] == [0.0] * 6
    assert len(found["snapshots"]) == 7


def test_one_batch_again_and_again_has_regret_where_each_module_is_tried(
    model: str, pairs: str, tmp_path: Path
) -> None:
    rows = Path(pairs).read_text().splitlines()[:4]
    file = written(rows * 5, tmp_path / "rows.jsonl")
    align(fast(), model=model, stream=stream(file, snapshot_every=1), out=tmp_path / "run", **QUICK)
    found = regret_of(tmp_path / "run")
    assert [snapshot["step"] for snapshot in found["snapshots"]] == [0, 1, 2, 3, 4, 5]
    fixed = {snapshot["step"]: snapshot["loss"] for snapshot in found["snapshots"]}
    assert [fixed[step][step] for step in range(5)] == found["online"]  # met before it was trained on
    assert all(regret >= 0 for regret in found["regret"])
    assert found["regret"][-1] > 0
    assert "estimated from below" in found["sentence"]
    assert "Regret" in (tmp_path / "run" / "report.html").read_text()


def test_fewer_snapshots_never_make_the_regret_larger(model: str, pairs: str, tmp_path: Path) -> None:
    for name, every in (("all", 1), ("some", 2)):
        asked = stream(pairs, snapshot_every=every)
        align(fast(), model=model, stream=asked, out=tmp_path / name, **QUICK)
    pairs_of = zip(regret_of(tmp_path / "some")["regret"], regret_of(tmp_path / "all")["regret"], strict=True)
    assert all(fewer <= more for fewer, more in pairs_of)
    assert same_weights(tmp_path / "some", tmp_path / "all")


def test_two_modules_at_a_rate_of_nothing_have_a_regret_of_exactly_nothing(
    model: str, pairs: str, tmp_path: Path
) -> None:
    still = fast("ofs_dpo").replace(update=fast().update.replace(learning_rate=1e-30))
    align(still, model=model, stream=stream(pairs, snapshot_every=2), out=tmp_path / "run", **QUICK)
    assert regret_of(tmp_path / "run")["regret"] == [0.0] * 6


def test_two_modules_that_know_nothing_of_each_other_have_the_regret_of_the_fast_one(
    model: str, pairs: str, tmp_path: Path
) -> None:
    asked, both = stream(pairs, snapshot_every=2), fast("ofs_dpo", alpha=0.0)
    align(both, model=model, stream=asked, out=tmp_path / "both", **QUICK)
    align(fast("dpo").replace(update=both.update), model=model, stream=asked, out=tmp_path / "one", **QUICK)
    assert regret_of(tmp_path / "both") == regret_of(tmp_path / "one")


def test_the_regret_of_two_modules_follows_the_one_in_the_fast_role(model: str, pairs: str, tmp_path: Path) -> None:
    chasing = fast("ofs_dpo").replace(chase=Chase(interval=1, speed_ratio=0.9))
    align(chasing, model=model, stream=stream(pairs, snapshot_every=1), out=tmp_path / "run", **QUICK)
    found, log = regret_of(tmp_path / "run"), logged(tmp_path / "run")
    assert any(line["chase/swapped"] for line in log)
    shared = [line["player-1/" * bool(line["chase/fast"]) + "loss/base"] for line in log]
    assert found["online"] == shared
    fixed = {snapshot["step"]: snapshot["loss"] for snapshot in found["snapshots"]}
    assert [fixed[step][step] for step in range(6)] == shared  # met before it was trained on


def test_without_a_record_of_who_was_fast_no_regret_is_guessed(
    model: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(log: Path) -> list[dict[str, Any]]:
        lines = [dict(line) for line in read_metrics(log)]
        del lines[1]["chase/fast"]
        return lines

    monkeypatch.setattr(hindsight, "read_metrics", forgetful)
    done = align(fast("ofs_dpo"), model=model, stream=stream(pairs), out=tmp_path / "run", max_steps=3, **QUICK)
    assert any("does not say which module was in the fast role in step 2" in note for note in done.summary["notes"])
    assert not (tmp_path / "run" / "regret.json").exists()
    assert done.report is not None  # the run is whole without it


def test_a_run_says_why_it_waits_for_no_more_rows(model: str, pairs: str, tmp_path: Path) -> None:
    rows = Path(pairs).read_text().splitlines()
    file = written(rows[:6], tmp_path / "rows.jsonl")
    idle = align(fast(), model=model, stream=stream(file), out=tmp_path / "idle", **QUICK)
    assert f"The stream ended after 2 steps: no line came to {file} for 0 s (--stream-idle)." in idle.summary["notes"]
    most = align(fast(), model=model, stream=stream(file), out=tmp_path / "most", max_steps=1, **QUICK)
    assert any("ended after 1 steps, as --max-steps says" in note for note in most.summary["notes"])


@pytest.mark.parametrize(("steps", "last"), [(None, 6), (1, 4)])
def test_lines_that_came_after_the_end_are_told_with_what_takes_them(
    steps: int | None, last: int, model: str, pairs: str, tmp_path: Path
) -> None:
    """The command's rows are those that no step had, and each of them."""
    rows, out = Path(pairs).read_text().splitlines(), tmp_path / "run"
    file = written(["", *rows[:6]], tmp_path / "rows.jsonl")
    asked = Run(model=model, stream=Stream(**stream(file)), out=out, max_steps=steps, **QUICK)
    start(fast(), asked)
    if steps is None:
        assert came_since(fast(), asked, RunDirectory(out)) == []
    written(["", *rows[:9]], file)
    told = came_since(fast(), asked, RunDirectory(out))
    assert told[0].startswith(f"{9 - last} lines have come to {file} since line {last + 1}")
    tail = subprocess.run(shlex.split(told[1].replace(" -f ", " ").split("|")[0]), capture_output=True, text=True)
    assert tail.stdout.splitlines() == rows[last:9]
    again = request_of(told[1].split("| truenorth train ")[1])
    assert again.recipe() == fast().replace(references={"initial": OtherModel(path=model)})
    changed = {"model": str(out / "final"), "stream": Stream(path="-", idle_seconds=0), "out": Path(f"{out}-2")}
    assert again.run == asked.replace(lora=None, **changed)
    assert start(fast(), asked, resume=True).summary["steps"] == (steps or 2)  # it is finished all the same


def test_a_stop_while_the_regret_is_estimated_leaves_it_out_and_no_more(
    model: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(arriving, "hindsight_of", stopped)
    result = align(fast(), model=model, stream=stream(pairs), out=tmp_path / "run", **QUICK)
    assert any("it was left out by Ctrl-C" in note for note in result.summary["notes"])
    assert (tmp_path / "run" / "final").is_dir()
    assert not (tmp_path / "run" / "regret.json").exists()


def test_a_reference_that_moves_has_no_regret_and_says_why(model: str, pairs: str, tmp_path: Path) -> None:
    moving = fast().replace(references={"initial": Moving(every=2, share=1.0)})
    result = align(moving, model=model, stream=stream(pairs), out=tmp_path / "run", max_steps=3, **QUICK)
    assert not (tmp_path / "run" / "regret.json").exists()
    assert any("No regret was estimated: the reference moved" in note for note in result.summary["notes"])


RUN = """
import sys
from truenorth import align
from tests.feeds.test_arriving import QUICK, fast, stream
model, path, out = sys.argv[1:]
coming = stream(path, idle_seconds=3600)
align(fast(), model=model, stream=coming, out=out, resume=True, save_every=2, max_steps=6, **QUICK)
"""


def killed_after(step: int, command: list[str], out: Path, **how: Any) -> None:
    """Run `command` until step `step` is logged, then kill it."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, **how)
    log = out / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and f'"step": {step}' in log.read_text()):
        time.sleep(0.02)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()[-2000:]


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_a_killed_stream_goes_on_to_the_same_bits(kind: str, model: str, pairs: str, tmp_path: Path) -> None:
    rows = Path(pairs).read_text().splitlines()
    whole = written(rows, tmp_path / "whole.jsonl")
    align(fast(), model=model, stream=stream(whole), out=tmp_path / "whole", save_every=2, max_steps=6, **QUICK)
    growing, out = written(rows[:15], tmp_path / "growing.jsonl"), tmp_path / "killed"
    command = [sys.executable, "-W", "ignore", "-c", RUN, model, str(growing) if kind == "file" else "-", str(out)]
    if kind == "file":
        killed_after(3, command, out)  # behind the checkpoint of step 2, waiting for the fourth step's last row
        written(rows, growing)
        subprocess.run(command, check=True, stderr=subprocess.PIPE)
    else:
        feeder = subprocess.Popen(
            [sys.executable, "-c", f"print({growing.read_text()!r}, end='', flush=True); import time; time.sleep(99)"],
            stdout=subprocess.PIPE,
        )
        killed_after(3, command, out, stdin=feeder.stdout)
        feeder.kill()
        feeder.communicate()
        subprocess.run(command, check=True, stderr=subprocess.PIPE, input="\n".join(rows[15:]).encode())
    assert same_weights(out, tmp_path / "whole")
    assert logged(out) == logged(tmp_path / "whole")
    assert regret_of(out) == regret_of(tmp_path / "whole")


def test_a_stop_while_rows_are_waited_for_leaves_a_checkpoint(model: str, pairs: str, tmp_path: Path) -> None:
    rows = Path(pairs).read_text().splitlines()
    growing, out = written(rows[:6], tmp_path / "growing.jsonl"), tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", RUN, model, str(growing), str(out)])
    while not (out / "metrics.jsonl").exists() or '"step": 1' not in (out / "metrics.jsonl").read_text():
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    assert process.wait(60) == 0
    assert (out / "checkpoints" / "step-1" / "state.json").exists()
    assert not (out / "stream" / "ended").exists()
    assert regret_of(out)["steps"] == [1]


def test_what_cannot_be_streamed_is_refused_with_the_way_out(
    model: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("truenorth.session.load_policy", lambda _: pytest.fail("a model was loaded"))
    asked: dict[str, Any] = {"model": model, "out": tmp_path / "run", "stream": stream(pairs), **QUICK}
    cached = recipe("dpo")
    decaying = recipe("exo").replace(references={"initial": Frozen()})
    for chosen, more, said in (
        (cached, {}, r"initial is cached.*references.initial.kind=frozen"),
        (decaying, {}, r"to decay \(cosine\).*--set update.decay=constant"),
        ("aihf", {}, "--data pairs.jsonl demos.jsonl"),
        ("online_dpo", {}, "plays rounds"),
        ("dpo", {"epochs": 2}, "leave --epochs out"),
        ("dpo", {"data": pairs}, "give one of them"),
        ("dpo", {"stream": stream(tmp_path / "none.jsonl")}, r"none.jsonl does not exist"),
    ):
        with pytest.raises((SettingsError, DataError), match=said):
            align(chosen, **asked | more)
        assert not (tmp_path / "run").exists()


def test_first_rows_that_do_not_fit_leave_nothing_behind(model: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"model": model, "out": tmp_path / "run", **QUICK}
    for lines, said in (
        ([], "no row came"),
        ([json.dumps({"question": "hi", "good": "a"})], "columns"),
        (["{half"] * 5, "None of the rows that came|columns"),
    ):
        file = written(lines, tmp_path / "rows.jsonl")
        with pytest.raises(DataError, match=said):
            align("dpo", stream=stream(file), **asked)
        assert not [path.name for path in (tmp_path / "run").iterdir() if path.name != ".lock"]


def test_a_stream_whose_first_rows_changed_is_refused(model: str, pairs: str, tmp_path: Path) -> None:
    rows, asked = Path(pairs).read_text().splitlines(), {"model": model, "out": tmp_path / "run", **QUICK}
    file = written(rows[:4], tmp_path / "rows.jsonl")
    align("dpo", stream=stream(file), **asked)
    (tmp_path / "run" / "report.html").unlink()  # as killed before its end
    (tmp_path / "run" / "stream" / "rows.jsonl").write_text("\n".join(rows[4:8]) + "\n")
    with pytest.raises(CheckpointError, match="is of another run"):
        align("dpo", stream=stream(file), resume=True, **asked)
