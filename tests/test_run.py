"""A run: paths mean the same however they are spelt, and what is not there is said before anything is loaded."""

from pathlib import Path

import pytest

from truenorth.errors import SettingsError
from truenorth.run import Run

GIVEN = {"model": "sft", "data": "pairs.jsonl", "out": "out"}


@pytest.mark.parametrize(
    ("given", "meant"), [("sft/", "sft"), ("./sft//", "./sft"), ("owner/name", "owner/name"), (Path("a/b"), "a/b")]
)
def test_a_slash_at_the_end_is_no_other_model(given: str | Path, meant: str) -> None:
    assert Run(**GIVEN | {"model": given}).model == meant


def test_the_home_folder_may_be_a_tilde_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    run = Run(model="~/sft/", data=["~/pairs.jsonl"], out=Path("~/out"))
    assert run.model == str(tmp_path / "sft")
    assert run.data[0].path == str(tmp_path / "pairs.jsonl")
    assert run.out == tmp_path / "out"


@pytest.mark.parametrize("name", ["prompts", "chat_template"])
def test_a_file_that_is_not_there_is_refused_at_once(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"--{name.replace('_', '-')}: .*absent\.txt does not exist"):
        Run(**GIVEN | {name: tmp_path / "absent.txt"})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch_size": "x"}, "Run's batch_size must be a whole number in (0, inf), got 'x'."),
        ({"batch_size": 2.5}, "Run's batch_size must be a whole number in (0, inf), got 2.5."),
        ({"epochs": "many"}, "Run's epochs must be a number in (0, inf) or none, got 'many'."),
        ({"too_long": "cut"}, "Run's too_long must be stop, drop or truncate, got 'cut'."),
        ({"dropout": "maybe"}, "Run's dropout must be true or false, got 'maybe'."),
        ({"lora": 16}, "Run's lora must be LoRA's settings (rank, alpha, targets, dropout) or none, got 16."),
        ({"lora": {"targets": 3}}, "lora: LoRA's targets must be a list in brackets or all-linear, got 3."),
        ({"columns": "prompt"}, "Run's columns must be names with values, got 'prompt'."),
        ({"columns": {"prompt": 3}}, "Run's columns.prompt must be text, got 3."),
        ({"data": [3]}, "Run's data.0 must be DataSource's settings (path, share), got 3."),
        ({"model": 3}, "Run's model must be text, got 3."),
    ],
)
def test_a_value_of_the_wrong_type_is_answered_with_what_is_allowed(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Run(**(GIVEN | wrong))
    assert str(refused.value) == said


def test_a_share_behind_a_file_says_how_much_of_it_is_taken(tmp_path: Path) -> None:
    odd = tmp_path / "odd:2"
    odd.touch()
    run = Run(**GIVEN | {"data": ["a.jsonl:0.5", "b.jsonl", "owner/name:train", "owner/name:train:2", str(odd)]})
    assert [(source.path, source.share) for source in run.data] == [
        ("a.jsonl", 0.5),
        ("b.jsonl", 1.0),
        ("owner/name:train", 1.0),
        ("owner/name:train", 2.0),
        (str(odd), 1.0),  # a file of that name goes before
    ]


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"share must lie in \(0, inf\), got 0"):
        Run(**GIVEN | {"data": ["a.jsonl:0"]})
