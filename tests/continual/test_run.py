"""A run over domains on a tiny model: what comes out, what it equals, what is refused, and that it goes on."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import tiny_directory
from truenorth import align, job, merge
from truenorth.errors import CheckpointError, DataError, SettingsError
from truenorth.methods import recipe
from truenorth.recipe import Recipe

QUICK: dict[str, Any] = {
    "batch_size": 4,
    "precision": "float32",
    "samples": 0,
    "max_steps": 3,
    "lora": {"rank": 2},
    "save_every": 3,
    "eval_every": 3,
}
WORDS = {"boats": ["boat", "sail", "wind", "and", "is"], "bread": ["bread", "warm", "crust", "and", "is"]}
FILES = ("continual.json", "report.html", "measured.jsonl", "final/adapter_model.safetensors")
BASELINES = ("average", "routing", "joint", "replay")  # sequential is replay without memory


def shortness(prompt: object, answer: str) -> float:
    """A judge."""
    del prompt
    return -float(len(answer))


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model, and a file of rows and one of held-out rows for each of two domains."""
    folder = tmp_path_factory.mktemp("given")
    for name in WORDS:
        for file, count in ((name, 12), (f"{name}_eval", 4)):
            written(folder / f"{file}.jsonl", name, count)
    return {
        "model": str(tiny_directory(folder / "sft")),
        "data": [str(folder / f"{name}.jsonl") for name in WORDS],
        "eval_data": [str(folder / f"{name}_eval.jsonl") for name in WORDS],
    }


def written(file: Path, name: str, count: int) -> None:
    draw = random.Random(file.name)

    def answer() -> str:
        return " ".join(draw.choices(WORDS[name], k=draw.randint(3, 7)))

    rows = [
        {"prompt": f"Tell {n} of {name}.", "chosen": answer(), "rejected": f"{answer()} so", "topic": name}
        for n in range(count)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def over_domains(**domains: Any) -> Recipe:
    made = recipe("dpo", learning_rate=1e-2)
    return made.replace(update=made.update.replace(warmup_steps=0), domains={"memory": 6, **domains})


@pytest.fixture(scope="module")
def whole(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all baselines, a judge and a compressed sum."""
    out = tmp_path_factory.mktemp("whole") / "run"
    asked = over_domains(baselines=BASELINES, rank=2, judged=2, max_new_tokens=4)
    align(asked, **given, out=out, judge="tests.continual.test_run:shortness", **QUICK)
    return out


@pytest.fixture(scope="module")
def plain(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without baselines."""
    out = tmp_path_factory.mktemp("plain") / "run"
    align(over_domains(baselines=()), **given, out=out, **QUICK)
    return out


@pytest.fixture(scope="module")
def unseen(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, its memory kept out of training."""
    out = tmp_path_factory.mktemp("unseen") / "run"
    align(over_domains(baselines=(), memory_of="unseen"), **given, out=out, **QUICK)
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def found(out: Path) -> dict[str, Any]:
    return json.loads((out / "continual.json").read_text())


def test_a_domain_alone_is_the_run_without_domains_bit_for_bit(
    whole: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    own = over_domains().replace(domains=None)
    align(own, model=given["model"], data=given["data"][1], out=tmp_path / "own", **QUICK)
    assert same(weights(whole / "domains/02-bread/final"), weights(tmp_path / "own/final"))


def test_a_domain_of_cofs_dpo_is_a_run_of_ofs_dpo_bit_for_bit(given: dict[str, Any], tmp_path: Path) -> None:
    made = recipe("cofs_dpo", learning_rate=1e-2).replace(domains={"memory": 6, "baselines": ["replay"]})
    align(made, **given, out=tmp_path / "cofs", **QUICK)
    own = recipe("ofs_dpo", learning_rate=1e-2)
    align(own, model=given["model"], data=given["data"][1], out=tmp_path / "ofs", **QUICK)
    assert same(weights(tmp_path / "cofs/domains/02-bread/final"), weights(tmp_path / "ofs/final"))
    assert found(tmp_path / "cofs")["ways"]["cofs"]["accuracy"][0] == [0.5, 0.5]
    assert "method: dpo" in (tmp_path / "cofs/baselines/replay/02-bread/run.yaml").read_text()


def test_the_result_is_the_merge_of_the_adapters_by_the_fitted_ratios(plain: Path, tmp_path: Path) -> None:
    ratios = found(plain)["fits"][-1]["ratios"]
    adapters = [folder / "final" for folder in sorted((plain / "domains").iterdir())]
    merge("adapters", adapters, out=tmp_path / "merged", weights=tuple(ratios))
    assert same(weights(plain / "final"), weights(tmp_path / "merged"))


def test_every_way_has_a_matrix_and_the_start_is_chance(whole: Path) -> None:
    ways = found(whole)["ways"]
    assert set(ways) == {"cofs", *BASELINES}
    for way, measures in ways.items():
        assert set(measures) == {"accuracy", "reward"}
        assert measures["accuracy"][0] == [0.5, 0.5]
        assert [row is None for row in measures["reward"]] == [False, way == "joint", False]


def test_routing_is_each_domain_by_its_own_adapter(whole: Path) -> None:
    ways = found(whole)["ways"]
    first, last = ways["cofs"]["accuracy"][1], ways["routing"]["accuracy"][2]
    assert last[0] == first[0]  # after the first domain the sum is its adapter
    assert ways["routing"]["accuracy"][1] == [first[0], 0.5]
    assert ways["average"]["accuracy"][1] == first


def test_one_adapter_begins_as_the_first_domains_and_takes_as_many_steps(whole: Path) -> None:
    replay = whole / "baselines/replay"
    assert same(weights(replay / "01-boats/final"), weights(whole / "domains/01-boats/final"))
    assert [json.loads((folder / "summary.json").read_text())["steps"] for folder in replay.iterdir()] == [3, 3]
    assert json.loads((whole / "baselines/joint/summary.json").read_text())["steps"] == 6


def test_replay_trains_on_what_is_remembered_as_well(whole: Path) -> None:
    account = json.loads((whole / "baselines/replay/02-bread/account.json").read_text())
    assert account["account"]["read"] == 12 + 6
    kept = (whole / "memory/01-boats.jsonl").read_text().splitlines()
    assert len(kept) == 6
    assert all(json.loads(line)["topic"] == "boats" for line in kept)


def test_an_unseen_memory_is_of_no_row_that_its_domain_is_trained_on_and_the_page_says_so(unseen: Path) -> None:
    for name, folder in (("boats", "01-boats"), ("bread", "02-bread")):
        kept, trained = (
            [json.loads(line)["prompt"] for line in (unseen / place / f"{folder}.jsonl").read_text().splitlines()]
            for place in ("memory", "rows/trained_on")
        )
        assert (len(kept), len(trained)) == (2, 10)  # a fifth at most
        assert not set(kept) & set(trained)
        account = json.loads((unseen / "domains" / folder / "account.json").read_text())
        assert account["account"]["read"] == 10
        assert f"2 of 12 rows of {name}" in (unseen / "report.html").read_text()


def test_a_domain_beside_an_unseen_memory_is_a_run_on_the_other_rows_bit_for_bit(
    unseen: Path, plain: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    own = over_domains().replace(domains=None)
    align(own, model=given["model"], data=unseen / "rows/trained_on/02-bread.jsonl", out=tmp_path / "own", **QUICK)
    ours = weights(unseen / "domains/02-bread/final")
    assert same(ours, weights(tmp_path / "own/final"))
    assert not same(ours, weights(plain / "domains/02-bread/final"))


def test_a_compressed_sum_has_that_rank_and_says_its_error(whole: Path) -> None:
    said = found(whole)["compressed"]
    assert said["rank"] == 2
    assert 0 < said["error"] < 1
    assert {a.shape[0] for name, a in weights(whole / "final").items() if "lora_A" in name} == {2}
    assert f"relative error of {said['error']:.3g}" in (whole / "final/README.md").read_text()


def test_the_report_is_written_again_to_the_same_bytes(whole: Path) -> None:
    from truenorth.evaluate.report import write_report

    before = (whole / "report.html").read_bytes()
    assert write_report(whole).read_bytes() == before


def test_a_finished_run_has_nothing_left_to_do(whole: Path, given: dict[str, Any]) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    asked = over_domains(baselines=BASELINES, rank=2, judged=2, max_new_tokens=4)
    judge = "tests.continual.test_run:shortness"
    again = align(asked, **given, out=whole, judge=judge, resume=True, **QUICK)
    assert again.summary["domains"] == tuple(WORDS)
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


class Killed(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize(("name", "memory_of"), [("plain", "trained"), ("unseen", "unseen")])
def test_a_run_that_is_killed_in_the_second_domain_ends_with_the_same_bytes(
    name: str,
    memory_of: str,
    given: dict[str, Any],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, asked, train = request.getfixturevalue(name), over_domains(baselines=(), memory_of=memory_of), job.train

    def killed(players: Any, plan: Any, progress: Any) -> Any:
        def stopping(step: int) -> None:
            if plan.out.name == "02-bread" and step == 2:
                raise Killed

        return train(players, replace(plan, before_step=stopping), progress)

    monkeypatch.setattr(job, "train", killed)
    out = tmp_path / "cut"
    with pytest.raises(Killed):
        align(asked, **given, out=out, **QUICK)
    monkeypatch.undo()
    assert not (out / "final").exists()
    first = out / "domains/01-boats/final/adapter_model.safetensors"
    kept = first.stat().st_mtime_ns
    align(asked, **given, out=out, resume=True, **QUICK)
    assert first.stat().st_mtime_ns == kept
    for file in FILES:
        assert (out / file).read_bytes() == (whole / file).read_bytes(), file


RUN = """
import sys
from pathlib import Path
from tests.continual.test_run import QUICK, over_domains
from truenorth import align
data, held_out = sys.argv[2].split(","), sys.argv[3].split(",")
align(over_domains(), model=sys.argv[1], data=data, eval_data=held_out, out=sys.argv[4],
      resume=Path(sys.argv[4], "run.yaml").exists(), **QUICK)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_at_any_moment_ends_with_the_same_bytes(
    given: dict[str, Any], tmp_path: Path
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", RUN, given["model"]]
    command += [",".join(given["data"]), ",".join(given["eval_data"])]
    draw = random.Random(0)
    for out, kills in (("whole", 0), ("cut", 6)):
        while True:
            process = subprocess.Popen([*command, str(tmp_path / out)])
            if kills:
                kills -= 1
                time.sleep(draw.uniform(2, 15))
                process.send_signal(signal.SIGKILL)
            if process.wait() == 0:
                break
    for file in FILES:
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file


def test_other_rows_than_those_that_were_measured_are_refused(
    plain: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    out = shutil.copytree(plain, tmp_path / "run")
    (out / "report.html").unlink()
    held_out = [shutil.copy(path, tmp_path) for path in given["eval_data"]]
    settings = (out / "run.yaml").read_text()
    for before, now in zip(given["eval_data"], held_out, strict=True):
        settings = settings.replace(before, str(now))
    (out / "run.yaml").write_text(settings)
    written(Path(held_out[0]), "boats", 5)
    with pytest.raises(CheckpointError, match="another held-out rows of boats"):
        align(over_domains(baselines=()), **given | {"eval_data": held_out}, out=out, resume=True, **QUICK)


def test_a_column_tells_domains_apart_and_gives_the_same_adapters(
    given: dict[str, Any], plain: Path, tmp_path: Path
) -> None:
    rows, held_out = tmp_path / "rows.jsonl", tmp_path / "held_out.jsonl"
    for file, parts in ((rows, given["data"]), (held_out, given["eval_data"])):
        lines = [Path(part).read_text().splitlines(keepends=True) for part in parts]
        file.write_text("".join(line for pair in zip(*lines, strict=True) for line in pair))
    asked, out = over_domains(column="topic", baselines=()), tmp_path / "run"
    align(asked, model=given["model"], data=rows, eval_data=held_out, out=out, **QUICK)
    for folder in ("01-boats", "02-bread"):
        assert same(weights(out / "domains" / folder / "final"), weights(plain / "domains" / folder / "final"))


@pytest.mark.parametrize(
    ("domains", "settings", "said"),
    [
        ({}, {"lora": None}, "give their rank, for instance --lora 16"),
        ({"memory": 13}, {}, "memory keeps 13 rows of each domain, and boats has 12"),
        ({}, {"judge": "tests.continual.test_run:shortness", "eval_data": []}, "--eval-data must be given"),
        ({}, {"data": []}, "needs rows of several domains"),
        ({"order": ("boats", "bred")}, {}, "Did you mean bread"),
    ],
)
def test_what_cannot_work_is_refused_before_a_model_is_loaded_and_leaves_nothing(
    domains: dict[str, Any],
    settings: dict[str, Any],
    said: str,
    given: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("truenorth.session.load_model", None)
    asked: dict[str, Any] = given | {"out": tmp_path / "run"} | QUICK | settings
    with pytest.raises((SettingsError, DataError), match=said):
        align(over_domains(**domains), **asked)
    assert not (tmp_path / "run" / "run.yaml").exists()
    assert not (tmp_path / "run" / "rows").exists()
