"""A model is known by its files, wherever they lie."""

from pathlib import Path

from tests.tiny import tiny_directory
from truenorth.models.origin import fingerprint


def test_the_fingerprint_changes_with_a_single_weight(tmp_path: Path) -> None:
    first = fingerprint(str(tiny_directory(tmp_path / "a")))
    assert fingerprint(str(tiny_directory(tmp_path / "b"))) == first
    assert fingerprint(str(tiny_directory(tmp_path / "c", seed=1))) != first
