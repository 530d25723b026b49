"""Attention over packed batches, for unpatched transformers models, through the public attention registry.

Each response attends to its own prompt and to itself. The layout travels through the model as its 4-D attention
mask, which transformers hands on untouched; so it also reaches the recomputation of gradient checkpointing.
"""

from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from ..data.packing import Layout
from .kernels import Scores, available, chosen
from .kernels import attend as attend_by_kernel

NAME = "truenorth"  # in transformers' attention registry


class PackedMask(Tensor):
    """Stands where a model expects a 4-D attention mask, and carries the layout of a packed batch."""

    packing: Layout
    calls: int  # attention calls so far, to notice a model that never asks
    windows: int  # calls that brought a sliding window

    @classmethod
    def of(cls, layout: Layout, device: torch.device) -> Self:
        mask = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=device).as_subclass(cls)
        mask.packing, mask.calls, mask.windows = layout, 0, 0
        return mask


def native_attention(model: PreTrainedModel) -> str:
    """The name of the attention that `model` uses now."""
    return model.config._attn_implementation or "eager"  # pyright: ignore[reportPrivateUsage]  -- has no public name


@contextmanager
def packed_attention(model: PreTrainedModel) -> Generator[None]:
    """Within it, `model` attends through this file. Needs a PackedMask as the attention mask."""
    native = native_attention(model)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(native)


def attend(
    _: nn.Module,
    query: Tensor,  # [1, heads, T, head width]
    key: Tensor,  # [1, key heads, T, head width]
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,  # [heads], attention sinks
    **__: object,  # dropout and flags of other backends
) -> tuple[Tensor, None]:
    """What transformers calls in every attention layer. Returns [1, T, heads, head width]."""
    if not isinstance(attention_mask, PackedMask):
        raise TypeError("packed attention was called without a packed batch: this model builds its own mask.")
    attention_mask.calls += 1
    attention_mask.windows += sliding_window is not None
    layout, scores = attention_mask.packing, Scores(scaling, sliding_window, softcap, s_aux)
    kernel = chosen(query, scores, available(query.device))
    if kernel != "sdpa":
        return attend_by_kernel(kernel, (query, key, value), layout, scores), None
    with torch.autocast(query.device.type, enabled=False):
        return attend_by_sequence(query, key, value, layout, scores).transpose(1, 2), None


def attend_by_sequence(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scores: Scores) -> Tensor:
    """Attention of each prompt and of each response with its prompt, one after the other: exact everywhere.

    Each is a call of its own, so that a row's log-probs do not depend on what else is in the batch. On a CPU they
    compute in float32: the fused kernel's backward pass is faster there than in bfloat16.
    """
    given = value.dtype
    dtype = torch.float32 if query.device.type == "cpu" else given
    repeats = query.shape[1] // key.shape[1]
    # Split once: a slice for each sequence would each write a gradient of full size.
    sequences = layout.sequences
    sizes = [tokens for _, _, tokens in sequences]
    queries = query.to(dtype).split(sizes, dim=2)
    keys, values = (x.to(dtype).repeat_interleave(repeats, 1).split(sizes, dim=2) for x in (key, value))
    outputs: list[Tensor] = []
    for i, (prompt, _, _) in enumerate(sequences):
        q, k, v = queries[i], keys[i], values[i]
        if prompt != i:
            k, v = torch.cat([keys[prompt], k], dim=2), torch.cat([values[prompt], v], dim=2)
        outputs.append(_attend_to_the_past(q, k, v, scores))
    return torch.cat(outputs, dim=2).to(given)


def _attend_to_the_past(query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
    """Causal attention of the last tokens, [1, heads, n, width], of a sequence of keys, [1, heads, m, width]."""
    n, m = query.shape[2], key.shape[2]
    window = scores.window if scores.window is not None and scores.window < m else None
    if scores.softcap is not None or scores.sinks is not None:
        return _attend_by_hand(query, key, value, visible(n, m, window, query.device), scores)
    if n == m and window is None:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scores.scaling)
    allowed = visible(n, m, window, query.device)
    return scaled_dot_product_attention(query, key, value, attn_mask=allowed, scale=scores.scaling)


@lru_cache(maxsize=64)  # those of one batch: every layer and its reference ask for them again
def visible(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """[queries, keys] bool: which key each of the last `queries` tokens of a sequence may look at.

    >>> visible(2, 4, None, torch.device("cpu")).int().tolist()
    [[1, 1, 1, 0], [1, 1, 1, 1]]
    """
    places = torch.arange(keys, device=device)
    distance = places[keys - queries :, None] - places
    allowed = distance >= 0
    return allowed if window is None else allowed & (distance < window)


def _attend_by_hand(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor, scores: Scores) -> Tensor:
    """Attention with what the fused kernels lack: a soft cap on the scores, or a sink that takes a share."""
    scaling = query.shape[-1] ** -0.5 if scores.scaling is None else scores.scaling
    products = query @ key.transpose(-1, -2) * scaling
    if scores.softcap is not None:
        products = scores.softcap * torch.tanh(products / scores.softcap)
    products = products.float().masked_fill(~allowed, float("-inf"))
    if scores.sinks is not None:  # one more column that every token may look at and that gives nothing
        column = scores.sinks.float().view(1, -1, 1, 1).expand(*products.shape[:-1], 1)
        products = torch.cat([products, column], dim=-1)
    shares = products.softmax(-1)[..., : key.shape[-2]]
    return shares.to(value.dtype) @ value


AttentionInterface.register(NAME, attend)
