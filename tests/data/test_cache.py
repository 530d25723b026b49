from pathlib import Path

import pytest

from tests.tokenizers import CHATML, byte_level, metaspace
from truenorth.data.cache import cache_folder, key_of, read_about, write_about
from truenorth.data.options import DataSettings


def test_the_folder_given_comes_first_then_the_environments_then_the_homes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUENORTH_CACHE", "elsewhere")
    assert (cache_folder(tmp_path), cache_folder()) == (tmp_path, Path("elsewhere"))
    monkeypatch.delenv("TRUENORTH_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "truenorth"


def test_the_key_changes_with_all_that_rows_depend_on(tmp_path: Path) -> None:
    file, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    file.write_text("{}")
    other.write_text("{}\n")
    source, settings = (str(file), 1.0), DataSettings()
    keys = [
        key_of([source], byte_level(), settings),
        key_of([(str(other), 1.0)], byte_level(), settings),
        key_of([(str(file), 0.5)], byte_level(), settings),
        key_of([source, source], byte_level(), settings),
        key_of([source], metaspace(), settings),
        key_of([source], byte_level(CHATML), settings),
        key_of([source], byte_level(), settings.replace(max_length=7)),
    ]
    assert len(set(keys)) == len(keys)


def test_the_key_of_the_same_is_the_same(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("{}")
    assert len({key_of([(str(file), 1.0)], byte_level(), DataSettings()) for _ in range(2)}) == 1


def test_what_stands_beside_rows_comes_back(tmp_path: Path) -> None:
    assert read_about(tmp_path) is None
    write_about(tmp_path, {"a": [1, "ä"]})
    assert read_about(tmp_path) == {"a": [1, "ä"]}
    assert [file.name for file in tmp_path.iterdir()] == ["about.json"]
