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
    with pytest.raises(SettingsError, match=rf"{name}: there is no file .*absent\.txt"):
        Run(**GIVEN | {name: tmp_path / "absent.txt"})
