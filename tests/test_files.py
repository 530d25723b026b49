"""A folder takes its place whole, whatever happens."""

import os
from pathlib import Path

import pytest

from truenorth.files import put_in_place


def test_a_folder_is_on_the_disk_before_it_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, folder = tmp_path / "new", tmp_path / "final"
    for made in (new / "inner", folder):
        made.mkdir(parents=True)
    for file in (new / "a", new / "inner" / "b", folder / "old"):
        file.write_text(file.name)
    written = [path.stat().st_ino for path in (new, new / "a", new / "inner", new / "inner" / "b")]
    flushed = list[int]()

    def fsync(handle: int) -> None:
        if new.exists():
            flushed.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    put_in_place(new, folder)
    assert sorted(flushed) == sorted(written)
    assert sorted(path.name for path in folder.rglob("*")) == ["a", "b", "inner"]
