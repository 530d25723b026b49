"""LoRA adapters as named tensors: each module's pair B, A, and the full model that an adapter makes of its base."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .header import Stored
from .store import Checkpoint, open_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from .slices import Source

PREFIX = "base_model.model."  # what PEFT puts before a module's name
LINEAR, EMBEDDING = ("lora_A.weight", "lora_B.weight"), ("lora_embedding_A", "lora_embedding_B")  # ends of A and B


@dataclass(frozen=True, slots=True)
class Pair:
    """The adapter of one module: its weight gains scale * B A."""

    a: Stored  # [r, in]; of embeddings [r, vocabulary]
    b: Stored  # [out, r]; of embeddings [width, r]
    scale: float
    embedding: bool = False

    @property
    def rank(self) -> int:
        return self.a.shape[0]


def pairs_of(adapter: Checkpoint) -> dict[str, Pair]:
    """Module name -> its pair. Raises ModelError for adapters that are more than such pairs."""
    check_plain(adapter)
    pairs, used = dict[str, Pair](), set[str]()
    for name, a in adapter.tensors.items():
        for end_a, end_b in (LINEAR, EMBEDDING):
            if name.endswith(f".{end_a}"):
                module, other = name.removesuffix(f".{end_a}"), f"{name.removesuffix(end_a)}{end_b}"
                if (b := adapter.tensors.get(other)) is None or a.shape[0] != b.shape[1] or len(a.shape) != 2:
                    raise ModelError(f"{adapter.folder} has no {other} that fits {name}.")
                scale = scale_of(adapter.config, module.removeprefix(PREFIX), a.shape[0])
                pairs[module] = Pair(a, b, scale, embedding=end_a == EMBEDDING[0])
                used |= {name, other}
    if rest := [name for name in adapter.tensors if name not in used]:
        raise ModelError(
            f"{adapter.folder} holds {rest[0]}, which is no part of a LoRA pair: whole layers that were trained "
            f"beside an adapter cannot be merged with it. {by_peft(adapter)}"
        )
    return pairs


def check_plain(adapter: Checkpoint) -> None:
    """Raise ModelError for what is no plain LoRA adapter: its effect is not scale * B A."""
    config = adapter.config
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{adapter.folder} is a {config.get('peft_type')} adapter; only LoRA adapters can be merged.")
    for setting in ("use_dora", "modules_to_save", "lora_bias", "trainable_token_indices"):
        if config.get(setting):
            raise ModelError(f"{adapter.folder} has {setting}: it is more than sums of B A. {by_peft(adapter)}")
    if config.get("bias", "none") != "none":
        raise ModelError(f"{adapter.folder} trains biases (bias={config['bias']}). {by_peft(adapter)}")


def by_peft(adapter: Checkpoint) -> str:
    """How PEFT makes a whole model of an adapter that is more than sums of B A. A judge has one score as its label."""
    scores = adapter.config.get("task_type") == "SEQ_CLS"
    auto, labels = ("SequenceClassification", ", num_labels=1") if scores else ("CausalLM", "")
    loaded = f"peft.AutoPeftModelFor{auto}.from_pretrained({str(adapter.folder)!r}{labels})"
    return (
        f"Make a whole model of it first, in Python: {loaded}.merge_and_unload().save_pretrained('merged'), and copy "
        f"the tokenizer's files there{', and judge.json' * scores}."
    )


def scale_of(config: Mapping[str, Any], module: str, rank: int) -> float:
    """What B A is multiplied by: alpha / r, or alpha / sqrt(r) with rank-stabilised LoRA.

    >>> scale_of({"lora_alpha": 16, "alpha_pattern": {"up_proj": 4}}, "layers.0.up_proj", 8)
    0.5
    """
    patterns: Mapping[str, float] = config.get("alpha_pattern") or {}
    own = [alpha for name, alpha in patterns.items() if re.match(rf"(.*\.)?({name})$", module)]  # as PEFT matches
    alpha = own[0] if own else config["lora_alpha"]
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def base_folder(adapter: Checkpoint) -> Path:
    """The folder of the base that an adapter names. Raises ModelError where that is none."""
    folder = Path(str(adapter.config.get("base_model_name_or_path")))
    if not folder.is_dir():
        raise ModelError(
            f"the adapter {adapter.folder} is for the base {folder}, which is no folder here: it is needed to merge "
            "the adapter as a whole model. Adapters of one base are merged without it: truenorth merge adapters."
        )
    return folder


@dataclass(frozen=True, slots=True)
class Adapted:
    """A model's tensors, with an adapter's products added where there is one."""

    base: Checkpoint
    pairs: Mapping[str, Pair] = field(default_factory=dict[str, Pair])  # by the name of the weight in the base
    transposed: bool = False  # the base stores [in, out], as GPT-2 does

    def source(self, name: str) -> "Source":
        """The entries of a tensor, read when they are asked for."""
        from .slices import stored

        weight = self.base.tensors[name]
        if (pair := self.pairs.get(name)) is None:
            return stored(weight)
        return _with_product(weight, pair, transposed=self.transposed)


def adapted(adapter: Checkpoint) -> Adapted:
    """The full model that an adapter makes of the base that it names. Raises ModelError where it does not fit it."""
    base = open_checkpoint(base_folder(adapter))
    pairs: dict[str, Pair] = {}
    for module, pair in pairs_of(adapter).items():
        name = f"{module.removeprefix(PREFIX)}.weight"
        shape = (pair.b.shape[0], pair.a.shape[1])
        transposed = bool(adapter.config.get("fan_in_fan_out"))
        if pair.embedding or name not in base.tensors or base.tensors[name].shape != shape[:: -1 if transposed else 1]:
            raise ModelError(
                f"the adapter {adapter.folder} changes {module.removeprefix(PREFIX)}, which {base.folder} does not "
                f"store as one weight of that shape. {by_peft(adapter)}"
            )
        pairs[name] = pair
    return Adapted(base, pairs, bool(adapter.config.get("fan_in_fan_out")))


def _with_product(weight: Stored, pair: Pair, *, transposed: bool) -> "Source":
    """The entries of a weight plus scale * B A, of which only the rows that are asked for are computed.

    A and B are read at the first entry and let go with the last, so that one weight's are held at a time.
    """
    from .slices import stored, whole

    entries, width = stored(weight), weight.shape[1]
    held = list["Tensor"]()

    def read(start: int, end: int) -> "Tensor":
        if not held:
            a, b = whole(pair.a), whole(pair.b)
            held.extend((a.T, b.T) if transposed else (b, a))
        left, right = held
        first, last = start // width, -(-end // width)  # rows
        product = (left[first:last] @ right).flatten()[start - first * width : end - first * width]
        if end == weight.numel:
            held.clear()
        return entries(start, end).add_(product, alpha=pair.scale)

    return read
