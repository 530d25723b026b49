"""A model is known by its files, wherever they lie."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.tiny import tiny_directory
from truenorth.errors import ModelError
from truenorth.models.origin import base_of_adapter, fingerprint


def test_the_fingerprint_changes_with_a_single_weight(tmp_path: Path) -> None:
    first = fingerprint(str(tiny_directory(tmp_path / "a")))
    assert fingerprint(str(tiny_directory(tmp_path / "b"))) == first
    assert fingerprint(str(tiny_directory(tmp_path / "c", seed=1))) != first


def put_in_cache(cache: Path, commit: str) -> None:
    """What the hub's client leaves behind when it reads `owner/model` at `commit`."""
    repository = cache / "models--owner--model"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / "config.json").write_text("{}")
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)


def test_a_hub_model_is_known_by_the_commit_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    absent = fingerprint("owner/model")
    put_in_cache(tmp_path, "a" * 40)
    first = fingerprint("owner/model")
    put_in_cache(tmp_path, "b" * 40)
    assert len({absent, first, fingerprint("owner/model")}) == 3
    shutil.rmtree(tmp_path / "models--owner--model" / "snapshots" / ("b" * 40))
    (tmp_path / "models--owner--model" / "refs" / "main").write_text("a" * 40)
    assert fingerprint("owner/model") == first


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"peft_type": "LO', "adapter_config.json is no JSON"),
        ('{"peft_type": "LORA"}', "does not say which model it adapts"),
        ('{"peft_type": "LORA", "base_model_name_or_path": null}', "does not say which model it adapts"),
    ],
)
def test_an_adapter_without_its_base_is_refused(config: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(ModelError, match=message):
        base_of_adapter(str(tmp_path))
