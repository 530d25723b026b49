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
    layout = attention_mask.packing
    if (repeats := query.shape[1] // key.shape[1]) > 1:
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    # Split once: slicing per group would write a full-size gradient for every slice.
    groups = zip(*(x.split(layout.groups, dim=2) for x in (query, key, value)), strict=True)
    outputs: list[Tensor] = []
    for (q, k, v), prompt, responses in zip(groups, layout.prompts, layout.responses, strict=True):
        allowed = visible(prompt, responses, sliding_window, query.device)
        if softcap is None and s_aux is None:
            outputs.append(scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=scaling))
        else:
            outputs.append(_attend_by_hand(q, k, v, allowed, scaling=scaling, softcap=softcap, sinks=s_aux))
    return torch.cat(outputs, dim=2).transpose(1, 2), None


@lru_cache(maxsize=512)
def visible(prompt: int, responses: tuple[int, ...], window: int | None, device: torch.device) -> Tensor:
    """[L, L] bool: which token of a group (prompt, then its responses) may look at which.

    >>> visible(1, (1, 1), None, torch.device("cpu")).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    """
    owner = torch.repeat_interleave(torch.arange(1 + len(responses)), torch.tensor([prompt, *responses]))
    position = torch.cat([torch.arange(prompt), *(torch.arange(prompt, prompt + n) for n in responses)])
    distance = position[:, None] - position[None, :]
    allowed = (distance >= 0) & ((owner[None, :] == 0) | (owner[None, :] == owner[:, None]))
    if window is not None:
        allowed &= distance < window
    return allowed.to(device)


def _attend_by_hand(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    allowed: Tensor,
    *,
    scaling: float | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Attention with what the fused kernels lack: a soft cap on the scores, or a sink that takes a share."""
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.float().masked_fill(~allowed, float("-inf"))
    if sinks is not None:  # one more column that every token may look at and that gives nothing
        column = sinks.float().view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
        scores = torch.cat([scores, column], dim=-1)
    shares = scores.softmax(-1)[..., : key.shape[-2]]
    return shares.to(value.dtype) @ value


AttentionInterface.register(NAME, attend)
