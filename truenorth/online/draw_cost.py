"""What drawing a batch of answers takes, gone through on tensors without contents: memory by part, and products."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from ..models.logprobs import base_of
from ..models.memory import Bytes, Part
from ..models.rehearsal import Rehearsal
from .decoding import Reader, shares
from .draws import draw
from .sampling import Sampling

PROBABILITIES = 44  # bytes that a draw reads and writes for each logit: scores, weights, sums in float64


@dataclass(frozen=True, slots=True)
class DrawnTogether:
    """The sizes of a batch of answers."""

    prompts: int
    answers: int
    longest: int  # tokens of the longest prompt


@dataclass(frozen=True, slots=True)
class DrawCost:
    """Of one batch whose answers are as long as they may be."""

    peak: Bytes  # at the moment when their sum is largest
    cache: int  # bytes of keys and values at the end
    reading: int  # FLOPs for the prompts
    drawing: int  # FLOPs for one more token of all answers, at the end
    weights: int  # bytes that are read for it, however many answers there are
    moved: int  # bytes that are besides: keys and values, probabilities


def draw_cost(rehearsal: Rehearsal, batch: DrawnTogether, sampling: Sampling, *, models: int = 1) -> DrawCost | None:
    """The cost of a batch whose tokens are drawn from one model, or from a mixture of two.

    None where the model keeps no cache that can be shared, so that `generate` draws, whose cost is not known.
    """
    base = base_of(rehearsal.model)
    if not shares(base):
        return None
    width = batch.longest + sampling.max_new_tokens
    with rehearsal.generating() as ledger:
        readers = [Reader(base) for _ in range(models)]
        tokens, mask = (make(batch.prompts, batch.longest, dtype=torch.int64) for make in (torch.zeros, torch.ones))
        for reader in readers:
            reader.read(tokens, mask)
        reading, before = ledger.flops, dict(ledger.peak)
        held = sum(_bytes(reader.cache) for reader in readers)
        for reader in readers:
            reader.keep(torch.zeros(batch.answers, dtype=torch.int64))
            _lengthen(reader.cache, width - 1)
        rows = torch.ones(batch.answers, width, dtype=torch.int64)
        logits = [reader.read(rows[:, :1], rows) for reader in readers][-1]
        draw(logits, torch.zeros(batch.answers, dtype=torch.float64), sampling)
        drawing, cache = ledger.flops - reading, sum(_bytes(reader.cache) for reader in readers)
        peak = _labelled(ledger.peak, held if ledger.peak == before else cache)
    size = 2 if rehearsal.asked.precision == "bfloat16" else 4
    probabilities = PROBABILITIES * batch.answers * logits.shape[-1]
    return DrawCost(peak, cache, reading, drawing, models * size * _read(rehearsal), cache + probabilities)


def _lengthen(cache: DynamicCache, width: int) -> None:
    """Put tensors for `width` tokens in the place of the cache's own, as many as a window keeps."""
    for layer in _layers(cache):
        kept = min(width, getattr(layer, "sliding_window", width + 1) - 1)
        if hasattr(layer, "cumulative_length"):
            layer.cumulative_length = width
        layer.keys, layer.values = (
            torch.empty(*old.shape[:2], kept, old.shape[3], dtype=old.dtype) for old in (layer.keys, layer.values)
        )


def _bytes(cache: DynamicCache) -> int:
    return sum(tensor.numel() * tensor.element_size() for one in _layers(cache) for tensor in (one.keys, one.values))


def _layers(cache: DynamicCache) -> Sequence[Any]:
    """All of attention: `shares` has seen to it, and the cache's type does not tell."""
    return cast("Sequence[Any]", cache.layers)


def _labelled(peak: Bytes, cache: int) -> Mapping[Part, int]:
    """The peak with keys and values, which are counted as activations while they grow, under their own name."""
    return {**peak, "cache": cache, "activations": max(0, peak["activations"] - cache)}


def _read(rehearsal: Rehearsal) -> int:
    """Entries of the policy that a product reads: all but embeddings that are looked up alone."""
    base = base_of(rehearsal.model)
    looked_up, head = base.get_input_embeddings().weight, cast("nn.Module", base.get_output_embeddings())
    entries = sum(p.numel() for p in rehearsal.model.parameters())
    return entries if head.weight is looked_up else entries - cast("Tensor", looked_up).numel()
