"""Write a model as others read it: a Hugging Face directory, or a PEFT adapter that knows its base."""

import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from ..files import as_umask_says, put_in_place, write_json
from .logprobs import Model, base_of
from .origin import base_of_adapter


@dataclass(frozen=True, slots=True)
class Final:
    """What is written of a trained model besides its architecture."""

    weights: Mapping[str, torch.Tensor]  # the model's, by name, or those of its adapter
    start: str  # where the policy came from: an adapter's base, or an adapter that was trained further
    dtype: torch.dtype  # that full weights are written in, the one the start was stored in
    tokenizer: PreTrainedTokenizerBase
    card: str


def export(model: Model, folder: Path, final: Final) -> None:
    """Write `model`, its tokenizer, chat template, generation settings and card to `folder`, whole or not at all."""
    with in_one_go(folder, final) as new:
        if isinstance(model, PeftModel):
            write_adapter(model, new, final)
        else:
            model.save_pretrained(new, state_dict=cast(final.weights, final.dtype))
            config = json.loads((new / "config.json").read_text())  # it names the dtype of the model in memory
            write_json(new / "config.json", config | {"dtype": str(final.dtype).removeprefix("torch.")})
        base_of(model).generation_config.save_pretrained(new)


@contextmanager
def in_one_go(folder: Path, final: Final) -> Generator[Path]:
    """A new folder to write to, which takes `folder`'s place at the end; the tokenizer and the card are added."""
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    final.tokenizer.save_pretrained(new)
    (new / "README.md").write_text(final.card)
    as_umask_says(new)
    put_in_place(new, folder)


def write_adapter(model: PeftModel, folder: Path, final: Final) -> None:
    """Write the adapter of `model`, with the place of its base."""
    base = base_of_adapter(final.start) or final.start
    for config in model.peft_config.values():
        config.base_model_name_or_path = str(Path(base).resolve()) if Path(base).is_dir() else base
    # the base has its embeddings already, and they are not trained
    model.save_pretrained(str(folder), state_dict=dict(final.weights), save_embedding_layers=False)


def cast(whole: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights in `dtype`. Tied ones stay one tensor: transformers then writes them once."""
    made: dict[tuple[int, torch.Size], torch.Tensor] = {}
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in whole.items():
        place = (tensor.data_ptr(), tensor.shape)
        if place not in made:
            made[place] = tensor.detach().to(dtype) if tensor.is_floating_point() else tensor
        weights[name] = made[place]
    return weights
