"""Where a model comes from: a folder, an adapter's folder, or a hub name. Imports neither torch nor transformers."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError, did_you_mean

CLASSIFIER = "ForSequenceClassification"  # in the name of an architecture
HASHED_WHOLE = 2**28  # bytes; larger weight files are told apart by size and time


def must_exist(path: str) -> None:
    """Raise ModelError if `path` can only be a folder and is none, or is a folder without a configuration."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not any((folder / name).exists() for name in ("config.json", "adapter_config.json")):
            raise ModelError(f"{path} holds no model: there is neither config.json nor adapter_config.json in it.")
    elif folder.exists():
        raise ModelError(f"{path} is a file; a model is a folder with config.json and safetensors weights.")
    elif path.startswith((".", "/", "~")) or path.count("/") != 1 or folder.parent.is_dir():
        near = (
            [str(p) for p in folder.parent.glob("*") if (p / "config.json").exists()] if folder.parent.is_dir() else []
        )
        raise ModelError(f"there is no model folder {path}.{did_you_mean(path, near)} A hub name reads owner/name.")


def refuse_no_classifier(path: str) -> None:
    """Raise ModelError if the configuration in the folder `path` is of a model that gives no score.

    Of a hub name nothing is known yet; an adapter's configuration does not say.
    """
    file = Path(path).expanduser() / "config.json"
    if not file.exists() or (file.parent / "adapter_config.json").exists():
        return
    try:
        architectures = json.loads(file.read_text(encoding="utf-8")).get("architectures") or ["nothing known"]
    except ValueError as error:
        raise ModelError(f"{file} is no JSON ({error}). Copy the model again.") from error
    if not any(CLASSIFIER in name for name in architectures):
        raise ModelError(no_classifier(path, architectures))


def no_classifier(path: str, architectures: Sequence[str]) -> str:
    """What is wrong with a judge of these architectures."""
    return (
        f"{path} is no reward model but {', '.join(architectures)}: its head would be random. Train one with "
        "`truenorth train reward`."
    )


def base_of_adapter(path: str) -> str | None:
    """The base model that an adapter directory names, or None if `path` is no adapter.

    Raises ModelError for adapters other than LoRA, and where the file cannot be read or names no base.
    """
    file = Path(path) / "adapter_config.json"
    if not file.exists():
        return None
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is no JSON ({error}). Copy the adapter again.") from error
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{file} is a {config.get('peft_type')} adapter; TrueNorth trains LoRA adapters only.")
    if not isinstance(base := config.get("base_model_name_or_path"), str):
        raise ModelError(
            f"{file} does not say which model it adapts. Write that model's folder or hub name there, as "
            "base_model_name_or_path."
        )
    return base


def fingerprint(path: str) -> str:
    """A hash of a model's files: configuration and weights, and of its base model's if it is an adapter.

    Weight files above 256 MB enter by name, size and time of change. A hub name enters with the commit of its files
    in the local cache, which are those that are loaded: ask once the configuration has been read from there.
    """
    if not Path(path).is_dir():
        return hashlib.sha256(f"{path} {cached_commit(path)}".encode()).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(Path(path).glob("*")):
        if file.suffix not in (".json", ".safetensors"):
            continue
        stat = file.stat()
        digest.update(file.name.encode())
        if stat.st_size > HASHED_WHOLE:
            digest.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
        else:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    if (base := base_of_adapter(path)) is not None:
        digest.update(fingerprint(base).encode())
    return digest.hexdigest()


def cached_commit(name: str) -> str | None:
    """The commit at which the files of a hub name lie in the local cache; None where they do not. Needs no network."""
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(name, file) for file in ("config.json", "adapter_config.json"))
    return next((Path(file).parent.name for file in found if isinstance(file, str)), None)


def folder_of(path: str) -> Path | None:
    """The folder with the files of a model that was loaded from `path`: of a hub name the local cache's."""
    from huggingface_hub import try_to_load_from_cache

    if Path(path).expanduser().is_dir():
        return Path(path).expanduser()
    file = try_to_load_from_cache(path, "config.json")
    return Path(file).parent if isinstance(file, str) else None
