"""Write a model as others read it: a Hugging Face directory, or a PEFT adapter that knows its base."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from ..files import write_json
from .logprobs import Model, base_of
from .origin import base_of_adapter


def export(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    weights: Mapping[str, torch.Tensor],
    start: str,
    dtype: torch.dtype,
    card: str,
) -> None:
    """Write `model`, its tokenizer, chat template, generation settings and `card` to `folder`, whole or not at all.

    `weights` are the model's, by name, or those of its adapter.
    `start` is where the policy came from: an adapter's base, or an adapter that was trained further. Full weights are
    written in `dtype`, the one the start was stored in.
    """
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    if isinstance(model, PeftModel):
        base = base_of_adapter(start) or start
        for config in model.peft_config.values():
            config.base_model_name_or_path = str(Path(base).resolve()) if Path(base).is_dir() else base
        # the base has its embeddings already, and they are not trained
        model.save_pretrained(str(new), state_dict=weights, save_embedding_layers=False)
    else:
        model.save_pretrained(new, state_dict=_cast(weights, dtype))
        config = json.loads((new / "config.json").read_text())  # it names the dtype of the model in memory
        write_json(new / "config.json", config | {"dtype": str(dtype).removeprefix("torch.")})
    tokenizer.save_pretrained(new)
    base_of(model).generation_config.save_pretrained(new)
    (new / "README.md").write_text(card)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def _cast(whole: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights in `dtype`. Tied ones stay one tensor: transformers then writes them once."""
    cast: dict[tuple[int, torch.Size], torch.Tensor] = {}
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in whole.items():
        place = (tensor.data_ptr(), tensor.shape)
        if place not in cast:
            cast[place] = tensor.detach().to(dtype) if tensor.is_floating_point() else tensor
        weights[name] = cast[place]
    return weights
