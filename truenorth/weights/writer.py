"""Write a merged checkpoint: tensors slice by slice into safetensors files, the folder whole or not at all."""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from ..files import write_json, write_text
from .header import SIZES, header_of
from .merge import Merged, Outcome
from .slices import torch_dtype

SHARD = 5_000_000_000  # bytes of a file at most, as transformers writes them
# What makes a folder usable beside weights and configuration.
COPIED = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "chat_template.jinja", "chat_template.json",
    "generation_config.json", "preprocessor_config.json", "processor_config.json",
)  # fmt: skip


def write_folder(outcome: Outcome, folder: Path, *, card: str, said: Callable[[str], None] = lambda _: None) -> int:
    """Write a Hugging Face folder with what `outcome` holds and the first model's tokenizer; gives its weights' bytes.

    A kill leaves nothing at `folder`, but a folder with a leading dot beside it, which the next try takes away.
    """
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        written = _write_tensors(outcome, new, said)
        name = "adapter_config.json" if outcome.adapter else "config.json"
        write_json(new / name, outcome.config)
        _copy_companions(outcome.folders, new)
        write_text(new / "README.md", card)
    except BaseException:
        shutil.rmtree(new)
        raise
    new.rename(folder)
    return written


def _copy_companions(folders: Sequence[Path], new: Path) -> None:
    """Tokenizer, chat templates and generation settings; of an adapter those of its base where it has none."""
    for folder in reversed(folders):
        own = [folder / name for name in COPIED] + list(folder.glob("additional_chat_templates/*.jinja"))
        for file in own:
            if file.exists():
                place = new / file.relative_to(folder)
                place.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, place)


def _write_tensors(outcome: Outcome, folder: Path, said: Callable[[str], None]) -> int:
    shards = list(_shards(outcome.tensors))
    stem, count = ("adapter_model" if outcome.adapter else "model"), len(shards)
    weight_map, done, total = dict[str, str](), 0, len(outcome.tensors)
    for number, shard in enumerate(shards, start=1):
        name = f"{stem}.safetensors" if count == 1 else f"{stem}-{number:05}-of-{count:05}.safetensors"
        with (folder / name).open("wb") as out:
            out.write(header_of((tensor.name, tensor.dtype, tensor.shape) for tensor in shard))
            for tensor in shard:
                said(f"merging tensor {(done := done + 1)} of {total}")
                for part in tensor.slices():
                    out.write(part.to(torch_dtype(tensor.dtype)).contiguous().view(torch.uint8).numpy().data)
        weight_map |= {tensor.name: name for tensor in shard}
    size = sum(map(_size, outcome.tensors))
    if count > 1:
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        write_json(folder / f"{stem}.safetensors.index.json", index)
    return size


def _shards(tensors: Sequence[Merged]) -> Iterator[list[Merged]]:
    """Tensors in their order, in files of at most `SHARD` bytes, or of one tensor that is larger."""
    shard, size = list[Merged](), 0
    for tensor in tensors:
        if shard and size + _size(tensor) > SHARD:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += _size(tensor)
    yield shard


def _size(tensor: Merged) -> int:
    return SIZES[tensor.dtype] * math.prod(tensor.shape)
