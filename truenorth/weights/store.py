"""A checkpoint as named tensors: a folder's safetensors files, one or many, opened without reading the tensors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .header import Stored, read_header

INPUT_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's folder, or a LoRA adapter's: where each tensor lies, and its configuration."""

    folder: Path
    tensors: Mapping[str, Stored]  # in the order of the files and of the bytes in them
    config: Mapping[str, Any]  # config.json, or adapter_config.json
    adapter: bool


def open_checkpoint(path: str | Path) -> Checkpoint:
    """The checkpoint in a folder. Reads configurations and the heads of files only, and imports no torch.

    Raises ModelError for a folder without safetensors weights, pickled or quantised ones, or damaged files.
    """
    folder = Path(path).expanduser()
    adapter = (folder / "adapter_config.json").exists()
    config = _json(folder / ("adapter_config.json" if adapter else "config.json"))
    if config.get("quantization_config") is not None:
        raise ModelError(f"{folder} is quantised: its weights cannot be mixed. Give the model that it was made from.")
    tensors: dict[str, Stored] = {}
    for file in _files(folder, "adapter_model" if adapter else "model"):
        tensors |= read_header(file)
    return Checkpoint(folder, tensors, config, adapter)


def tied_head(checkpoint: Checkpoint) -> tuple[str, str] | None:
    """The head and the embeddings that its configuration ties to it, where both are stored; else None.

    Loading ties them again, so equal ones are written once.
    """
    text: Mapping[str, Any] = checkpoint.config.get("text_config") or {}
    if not text.get("tie_word_embeddings", checkpoint.config.get("tie_word_embeddings")):
        return None
    for head in ("lm_head.weight", "embed_out.weight"):
        for name in checkpoint.tensors if head in checkpoint.tensors else ():
            if name.endswith(INPUT_EMBEDDINGS):
                return head, name
    return None


def _files(folder: Path, stem: str) -> list[Path]:
    """The weight files: those that the index names, or the only one."""
    index = folder / f"{stem}.safetensors.index.json"
    if index.exists():
        names = dict.fromkeys(_json(index)["weight_map"].values())
        files = [folder / name for name in sorted(names)]
    else:
        files = [folder / f"{stem}.safetensors"]
    missing = [file.name for file in files if not file.exists()]
    if missing and list(folder.glob("*.bin")):
        raise ModelError(
            f"{folder} has its weights in pickled .bin files, which may run code when they are read. Save it as "
            "safetensors first: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)."
        )
    if missing:
        raise ModelError(f"{folder} lacks the weight file(s) {', '.join(missing[:3])}.")
    return files


def _json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{file.parent} holds no model: there is no {file.name} in it.") from None
    except ValueError as error:
        raise ModelError(f"{file} is no JSON: {error}") from error
