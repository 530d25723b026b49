"""Tensors in memory and small checkpoints on disk, for tests of merges."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from truenorth.weights import in_memory
from truenorth.weights.merge import TensorMerge
from truenorth.weights.slices import NamedTensor


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def merged(
    merge: TensorMerge,
    models: Sequence[Tensor],
    base: Tensor | None = None,
    *,
    layer: tuple[int, int] | None = None,
    slice_size: int = 1 << 18,
) -> Tensor:
    """What a merge makes of one tensor of each model."""
    tensor = NamedTensor(
        "layers.0.weight",
        models[0].numel(),
        models=[in_memory(model) for model in models],
        base=None if base is None else in_memory(base),
        layer=layer,
        slice_size=slice_size,
    )
    return torch.cat(list(merge(tensor))).view_as(models[0])


def checkpoint(folder: Path, tensors: Mapping[str, Tensor], *, files: int = 1, config: str = "{}") -> Path:
    """A folder with these tensors in so many safetensors files."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config)
    if files == 1:
        save_file(dict(tensors), folder / "model.safetensors")
        return folder
    names, weight_map = list(tensors), {}
    for number in range(files):
        file = f"model-{number + 1:05}-of-{files:05}.safetensors"
        own = names[number::files]
        save_file({name: tensors[name] for name in own}, folder / file)
        weight_map |= dict.fromkeys(own, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def load(folder: Path) -> dict[str, Tensor]:
    """All tensors in a folder, read by the safetensors library."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found
