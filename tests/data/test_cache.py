import errno
import os
from pathlib import Path

import pytest

from tests.tokenizers import CHATML, byte_level, metaspace
from truenorth.data.cache import cache_folder, key_of, read_about, write_about, writing
from truenorth.data.identity import identity
from truenorth.data.options import DataSettings
from truenorth.errors import DataError


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


def test_a_file_system_without_locks_is_named_and_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(DataError, match=r"without locks .*Set TRUENORTH_CACHE"), writing(tmp_path):
        pass


def test_large_files_are_known_by_size_time_and_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("truenorth.data.identity.HASHED_WHOLE", 1000)
    monkeypatch.setattr("truenorth.data.identity.SAMPLED", 4)
    file, text = tmp_path / "rows.jsonl", bytearray(b"x" * 64_000)

    def known(changed_at: int | None = None, *, time: int = 1) -> str:
        data = bytearray(text)
        if changed_at is not None:
            data[changed_at] = 0
        file.write_bytes(data)
        os.utime(file, ns=(time, time))
        return identity(str(file))

    assert known() == known()
    assert len({known(), known(time=2), known(0), known(63_000)}) == 4  # 64 samples begin at each thousandth byte
    assert known(500) == known()  # what falls between them is known by the time alone
    assert known(500, time=3) != known()
