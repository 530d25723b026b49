from pathlib import Path
from typing import Any

import datasets
import pytest

from truenorth.data import hub
from truenorth.data.files import read_rows
from truenorth.data.identity import identity
from truenorth.errors import DataError

ROWS = [{"prompt": "p", "chosen": [{"role": "assistant", "content": "a"}], "rejected": None}] * 2


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    part = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": part, "test": part.select([0])}).save_to_disk(tmp_path / "both")
    part.save_to_disk(tmp_path / "one")
    return tmp_path


def count(path: object) -> int:
    return sum(1 for _ in read_rows(str(path)))


def test_a_saved_dataset_gives_its_rows(saved: Path) -> None:
    assert [raw.fields for raw in read_rows(str(saved / "one"))] == ROWS


def test_train_is_the_split_of_several_unless_another_is_named(saved: Path) -> None:
    assert (count(saved / "both"), count(f"{saved}/both:test")) == (2, 1)


def test_an_unknown_split_names_the_known_ones(saved: Path) -> None:
    with pytest.raises(DataError, match=r"has no split dev. It has train, test"):
        count(f"{saved}/both:dev")


def test_splits_without_train_must_be_named(tmp_path: Path) -> None:
    part = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"a": part, "b": part}).save_to_disk(tmp_path / "both")
    with pytest.raises(DataError, match=r"Name one: .*both:a"):
        count(tmp_path / "both")


def test_a_saved_dataset_has_an_identity_with_and_without_a_split(saved: Path) -> None:
    assert identity(f"{saved}/both:test") != identity(f"{saved}/both")


def test_a_name_of_the_hub_is_asked_for_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load(name: str) -> Any:
        asked.append(name)
        return datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert count("owner/pairs:train") == 2
    assert asked == ["owner/pairs"]


def test_a_name_that_the_hub_refuses_says_that_there_is_no_file_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Any:
        raise ConnectionError(f"Couldn't reach {name}")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DataError, match=r"owner/pairs does not exist.*gives no such dataset either: Couldn't"):
        count("owner/pairs")


@pytest.mark.parametrize("path", ["pairs.jsonl", "a/b/c", "/etc/pairs", "tests/pairs"])
def test_paths_are_not_asked_for_at_the_hub(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert not hub.could_be_name(path)
