import json
from pathlib import Path

import pytest
import yaml

from tests.synthetic_run import write_run
from truenorth.errors import DataError
from truenorth.evaluate.artifacts import read, read_metrics


@pytest.mark.parametrize("name", ["metrics.jsonl", "run.yaml"])
def test_a_folder_without_its_record_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (write_run(tmp_path) / name).unlink()
    with pytest.raises(DataError, match=name):
        read(tmp_path)


def test_a_metrics_file_without_lines_is_refused(tmp_path: Path) -> None:
    (write_run(tmp_path) / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match="has no lines"):
        read(tmp_path)


def test_a_bad_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": \n{"step": 3}\n')
    with pytest.raises(DataError, match="line 2"):
        read_metrics(path)


def test_a_last_line_that_a_kill_cut_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_metrics(path) == [{"step": 1}]


def test_a_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n[2]\n')
    with pytest.raises(DataError, match="line 2"):
        read_metrics(path)


def test_a_malformed_optional_file_is_named_with_its_field(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "samples.json").write_text(json.dumps([{"prompt": "p", "before": 3, "after": "a"}]))
    with pytest.raises(DataError, match=r"samples\.json: 0\.before"):
        read(tmp_path)


def test_optional_files_may_be_absent(tmp_path: Path) -> None:
    write_run(tmp_path)
    for name in ("account", "samples", "summary"):
        (tmp_path / f"{name}.json").unlink()
    artifacts = read(tmp_path)
    assert (artifacts.account, artifacts.samples, artifacts.summary.title) == (None, (), "")


def test_a_number_of_the_recipe_is_found_by_its_path(tmp_path: Path) -> None:
    artifacts = read(write_run(tmp_path))
    assert artifacts.setting("objective", "beta") == 0.1
    assert artifacts.setting("objective", "gamma") is None


def test_a_flat_run_file_is_read_like_a_nested_one(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "run.yaml").write_text("method: dpo\nobjective: {kind: dpo, beta: 0.3}\nrun: {seed: 4}\n")
    artifacts = read(tmp_path)
    assert (artifacts.setting("objective", "beta"), artifacts.run["seed"]) == (0.3, 4)


@pytest.mark.parametrize(("kind", "moves"), [("moving", True), ("cached", False)])
def test_a_run_knows_whether_its_reference_moves(kind: str, moves: bool, tmp_path: Path) -> None:
    file = write_run(tmp_path) / "run.yaml"
    settings = yaml.safe_load(file.read_text())
    settings["recipe"]["references"] = {"initial": {"kind": kind}}
    file.write_text(yaml.safe_dump(settings))
    assert read(tmp_path).reference_moves is moves


@pytest.mark.parametrize("text", [b"method: [dpo", b"\xff\xfe", b"dpo"])
def test_a_run_file_that_holds_no_settings_is_named(text: bytes, tmp_path: Path) -> None:
    (write_run(tmp_path) / "run.yaml").write_bytes(text)
    with pytest.raises(DataError, match=r"run\.yaml"):
        read(tmp_path)
