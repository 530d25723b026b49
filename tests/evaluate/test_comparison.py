import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.synthetic_run import Metrics, healthy, ill, write_run
from truenorth.errors import DataError, SettingsError
from truenorth.evaluate.artifacts import Artifacts, read
from truenorth.evaluate.comparison import best, compared, differing, write_comparison
from truenorth.train.rounding import Rounding


def run(directory: Path, title: str, accuracy: float, records: list[Metrics] | None = None) -> Artifacts:
    """A run with this title that ended at this held-out accuracy over 400 rows."""
    write_run(directory, records)
    summary = {"title": title, "evaluation": {"after": {"accuracy": accuracy, "count": 400}}}
    (directory / "summary.json").write_text(json.dumps(summary))
    return read(directory)


def said(*artifacts: Artifacts) -> str:
    return best(compared(artifacts)).replace("\u202f", " ")


def test_a_run_beyond_the_others_intervals_is_said_to_be_so(tmp_path: Path) -> None:
    assert said(run(tmp_path / "a", "EXO", 0.8), run(tmp_path / "b", "DPO", 0.6)) == (
        "EXO has the highest held-out accuracy of 2 runs, 80 % (95 %: 76 to 84 %), beyond the others' intervals."
    )


def test_a_run_within_the_winners_interval_is_named(tmp_path: Path) -> None:
    assert said(run(tmp_path / "a", "EXO", 0.72), run(tmp_path / "b", "DPO", 0.7)).endswith(
        "; DPO cannot be told from it."
    )


def test_runs_without_held_out_rows_have_no_winner(tmp_path: Path) -> None:
    train = [record for record in healthy() if record["split"] == "train"]
    for name in ("a", "b"):
        write_run(tmp_path / name, train)
        (tmp_path / name / "summary.json").unlink()
    assert "fewer than two measured" in said(read(tmp_path / "a"), read(tmp_path / "b"))


def test_a_run_that_measured_nothing_is_not_among_those_that_were_beaten(tmp_path: Path) -> None:
    write_run(tmp_path / "c", [record for record in healthy() if record["split"] == "train"])
    (tmp_path / "c" / "summary.json").unlink()
    found = said(run(tmp_path / "a", "EXO", 0.8), run(tmp_path / "b", "DPO", 0.6), read(tmp_path / "c"))
    assert found.startswith("EXO has the highest held-out accuracy of the 2 runs that measured it, 80 %")


def test_an_accuracy_that_is_rounding_wins_nothing(tmp_path: Path) -> None:
    lost = Rounding("bfloat16", 16, margin=1e-3, difference=4e-3, changed=8, right=0.9, right_in_float32=0.9)
    first, *others = [run(tmp_path / name, name, accuracy) for name, accuracy in (("a", 0.9), ("b", 0.7), ("c", 0.5))]
    drowned = replace(first, summary=first.summary.model_copy(update={"rounding": lost}))
    assert said(drowned, *others).startswith("b has the highest")


def test_runs_of_one_method_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    runs = compared([run(tmp_path / "low", "EXO", 0.7), run(tmp_path / "high", "EXO", 0.7)])
    assert [each.name for each in runs] == ["EXO (low)", "EXO (high)"]


def test_only_settings_that_differ_are_listed(tmp_path: Path) -> None:
    runs = {"a": run(tmp_path / "a", "EXO", 0.7), "b": run(tmp_path / "b", "EXO", 0.7)}
    text = (tmp_path / "b" / "run.yaml").read_text()
    (tmp_path / "b" / "run.yaml").write_text(text.replace("5.0e-7", "5.0e-6").replace("runs/exo", "runs/other"))
    runs["b"] = read(tmp_path / "b")
    assert differing(runs) == [("update.learning_rate", ["5e-7", "5e-6"])]


def test_the_page_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    folders = [run(tmp_path / "a", "EXO", 0.7).directory, run(tmp_path / "b", "DPO", 0.6, ill()).directory]
    pages = [write_comparison(folders, tmp_path / name).read_bytes() for name in ("one.html", "two.html")]
    assert pages[0] == pages[1]


def test_a_title_that_is_markup_is_shown_as_text(tmp_path: Path) -> None:
    folders = [run(tmp_path / name, f"<script>{name}</script>", 0.7).directory for name in ("a", "b")]
    assert "<script>" not in write_comparison(folders, tmp_path / "c.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("count", [1, 7])
def test_one_run_or_too_many_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(SettingsError, match=f"2 to 6 runs, got {count}"):
        write_comparison([tmp_path] * count, tmp_path / "c.html")


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no run\.yaml"):
        write_comparison([tmp_path, tmp_path], tmp_path / "c.html")
