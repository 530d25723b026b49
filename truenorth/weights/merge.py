"""What a merge is: settings, what it needs, and a function from a tensor of every checkpoint to the merged one."""

import abc
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import ModelError, SettingsError, so_many
from ..settings import Part
from .alike import check_alike
from .header import FLOATS, Stored
from .lora import Adapted, adapted
from .store import open_checkpoint, tied_head

if TYPE_CHECKING:
    from torch import Tensor

    from .slices import NamedTensor, Source

LAYER = re.compile(r"\.(?:layers?|h|blocks?)\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Merged:
    """A tensor of the result, computed slice by slice when it is written."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # as safetensors has it; what slices are rounded to
    slices: "Callable[[], Iterator[Tensor]]"  # flat, float32, from the first entry to the last


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a merge makes but the tokenizer's files: those are the first model's."""

    tensors: Sequence[Merged]
    config: dict[str, Any]  # config.json, or of an adapter adapter_config.json
    folders: Sequence[Path]  # where the first model's tokenizer is; an adapter's own files go before its base's
    adapter: bool = False

    def stored_as(self, dtype: str) -> "Outcome":
        """The same, with numbers rounded to `dtype` (bfloat16, float16, float32) when they are written."""
        name = next(short for short, full in FLOATS.items() if full == dtype)
        tensors = [replace(tensor, dtype=name) if tensor.dtype in FLOATS else tensor for tensor in self.tensors]
        config = {field: value for field, value in self.config.items() if field != "torch_dtype"}
        return replace(self, tensors=tensors, config=config if self.adapter else config | {"dtype": dtype})


class Merge(Part, abc.ABC):
    """A paper's merge. The class attributes are what it needs; `check` refuses what does not fit."""

    models: ClassVar[tuple[int, int | None]] = (2, None)  # fewest and most of --models; None: no limit
    base: ClassVar[str] = ""  # what --base is; empty: it takes none

    @property
    def name(self) -> str:
        return type(self).kind or type(self).__name__

    def check(self, models: int, *, base: bool) -> None:
        """Raise SettingsError unless the merge takes so many models, and a base."""
        fewest, most = self.models
        if not fewest <= models <= (most or models):
            raise SettingsError(f"{self.name} takes {so_many(fewest, most, 'model')} (--models), got {models}.")
        if self.base and not base:
            raise SettingsError(f"{self.name} needs --base: {self.base}.")
        if base and not self.base:
            raise SettingsError(f"{self.name} takes no --base. Give it among --models if it is to be merged.")
        weights: Sequence[float] | None = getattr(self, "weights", None)
        if weights is not None and len(weights) != models:
            raise SettingsError(f"{self.name} got {len(weights)} weights for {models} models: give one for each.")

    @abc.abstractmethod
    def outcome(self, models: Sequence[str | Path], base: str | Path | None) -> Outcome:
        """The merged tensors, not yet computed. Raises ModelError where the checkpoints do not fit together."""


class TensorMerge(Merge, abc.ABC):
    """A merge that goes through the checkpoints tensor by tensor."""

    @abc.abstractmethod
    def __call__(self, tensor: "NamedTensor") -> "Iterator[Tensor]":
        """The merged tensor, slice by slice: flat, float32."""

    def outcome(self, models: Sequence[str | Path], base: str | Path | None) -> Outcome:
        opened = [_dense(path) for path in [*models, *([base] if base is not None else [])]]
        check_alike(opened[0].base, [model.base for model in opened[1:]])
        first = opened[0].base
        layers = 1 + max((found for name in first.tensors if (found := layer_of(name)) is not None), default=-1)
        drop = _same_head(opened)
        merged = [
            self._merged(name, stored, opened if base is None else opened[:-1], opened[-1] if base else None, layers)
            for name, stored in first.tensors.items()
            if name != drop
        ]
        folders = list(dict.fromkeys([Path(models[0]).expanduser(), first.folder]))
        return Outcome(merged, dict(first.config), folders)

    def _merged(
        self, name: str, stored: Stored, models: Sequence[Adapted], base: Adapted | None, layers: int
    ) -> Merged:
        from .slices import NamedTensor

        layer = layer_of(name)
        of = NamedTensor(
            name,
            stored.numel,
            models=[model.source(name) for model in models],
            base=base.source(name) if base is not None else None,
            layer=None if layer is None else (layer, layers),
        )
        if stored.dtype not in FLOATS:
            return Merged(name, stored.shape, stored.dtype, lambda: _same(of))
        return Merged(name, stored.shape, stored.dtype, lambda: self(of))


class VectorMerge(TensorMerge, abc.ABC):
    """A merge of what each model learned beyond the base."""

    models: ClassVar[tuple[int, int | None]] = (1, None)
    base: ClassVar[str] = "the model that they were all fine-tuned from"


def layer_of(name: str) -> int | None:
    """The number of the layer that a tensor belongs to, from its name.

    >>> layer_of("model.layers.11.mlp.up_proj.weight"), layer_of("lm_head.weight")
    (11, None)
    """
    found = LAYER.search(f".{name}")
    return int(found[1]) if found else None


def block_of(layer: int, layers: int, blocks: int) -> int:
    """Which of `blocks` runs of layers, as equal as may be, a layer belongs to; 0 is the lowest.

    >>> [block_of(layer, 8, 3) for layer in range(8)]
    [0, 0, 0, 1, 1, 1, 2, 2]
    """
    return layer * blocks // layers


def _dense(path: str | Path) -> Adapted:
    """A full model, or an adapter as the full model that it makes of its base."""
    checkpoint = open_checkpoint(path)
    if not checkpoint.adapter:
        return Adapted(checkpoint)
    return adapted(checkpoint)


def _same_head(models: Sequence[Adapted]) -> str | None:
    """The name of a stored head that is the embeddings in every model: it is written once, under their name."""
    pairs = {tied_head(model.base) for model in models}
    if len(pairs) != 1 or (pair := pairs.pop()) is None:
        return None
    head, embeddings = pair
    same = all(
        _equal(model.source(head), model.source(embeddings), model.base.tensors[head].numel) for model in models
    )
    return head if same else None


def _equal(one: "Source", other: "Source", numel: int) -> bool:
    from .slices import NamedTensor

    pairs = (part.models for part in NamedTensor("", numel, [one, other]).slices())
    return all(bool((a == b).all()) for a, b in pairs)


def _same(tensor: "NamedTensor") -> "Iterator[Tensor]":
    """A tensor of whole numbers, which no merge can mix: the one that all checkpoints have."""
    for part in tensor.slices():
        others = [*part.models[1:], *([part.base] if part.base is not None else [])]
        if any(bool((part.models[0] != other).any()) for other in others):
            raise ModelError(f"the tensor {tensor.name} holds whole numbers, and they differ: it cannot be merged.")
        yield part.models[0]
