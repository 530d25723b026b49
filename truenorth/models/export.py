"""Write a model as others read it: a Hugging Face directory, or a PEFT adapter that knows its base."""

import shutil
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from .load import base_of_adapter
from .logprobs import Model, base_of


def export(
    model: Model, tokenizer: PreTrainedTokenizerBase, folder: Path, *, start: str, dtype: torch.dtype, card: str
) -> None:
    """Write `model`, its tokenizer, chat template, generation settings and `card` to `folder`, whole or not at all.

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
        model.save_pretrained(str(new), safe_serialization=True)
    else:
        stored: dict[int, torch.Tensor] = {}  # by address: tied weights stay one tensor, and are written once
        weights = {
            name: stored.setdefault(tensor.data_ptr(), tensor.detach().to(dtype))
            for name, tensor in model.state_dict().items()
        }
        before = model.config.dtype
        model.config.dtype = dtype
        model.save_pretrained(new, state_dict=weights, safe_serialization=True)
        model.config.dtype = before
    tokenizer.save_pretrained(new)
    base_of(model).generation_config.save_pretrained(new)
    (new / "README.md").write_text(card)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
