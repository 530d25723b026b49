"""Attention over many short segments on a CPU, in bfloat16: batches of like lengths instead of a call for each.

A CPU's fused kernel spends most of its time per call here, and its backward pass more than its forward pass. Plain
batched matrix products over padded batches of like segments take a third of the time (`docs/log.md`, "Attention of
short segments"). The padding is in the attention alone: nothing else of the model sees it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.packing import Layout

PADDED = 1.5  # a batch may be this much larger than its segments
SMALL = 20_000  # scores per head; below it padding costs less than another call
LARGE = 500_000  # scores per head; above it they would leave the processor's cache


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens that attend to themselves causally and, if they are a response, to their whole prompt."""

    start: int
    length: int
    prompt_start: int
    prompt: int  # tokens of the prompt; 0 for a prompt itself


@dataclass(frozen=True, slots=True)
class Batch:
    """Like segments, padded to n segments of C queries and P + C keys."""

    segments: tuple[Segment, ...]
    queries: Tensor  # [n * C] int64, rows of the packed batch
    keys: Tensor  # [n * (P + C)] int64
    mask: Tensor  # [n, 1, C, P + C], added to the scores
    padding: Tensor | None  # [n, 1, C, 1] bool, queries that are none; None: there are none such
    shape: tuple[int, int, int]  # n, C, P


@dataclass(frozen=True, slots=True)
class Schedule:
    """A packed batch's segments in batches, and where each packed row lies in their outputs, one after another."""

    batches: tuple[Batch, ...]
    place: Tensor  # [T] int64


def schedule(layout: Layout, window: int | None, dtype: torch.dtype) -> Schedule:
    """How to attend over `layout`; `window` is the model's sliding window in tokens. On the CPU."""
    batches: list[Batch] = []
    place = np.empty(sum(layout.groups), dtype=np.int64)
    offset = 0
    for segments in _alike(sorted(_segments(layout), key=lambda s: (s.prompt > 0, s.length, s.prompt))):
        batch = _batch(segments, window, dtype)
        n, c, _ = batch.shape
        for i, segment in enumerate(segments):
            first = offset + i * c
            place[segment.start : segment.start + segment.length] = np.arange(first, first + segment.length)
        offset += n * c
        batches.append(batch)
    return Schedule(tuple(batches), torch.from_numpy(place))


def attend_short(query: Tensor, key: Tensor, value: Tensor, plan: Schedule, *, scaling: float) -> Tensor:
    """[1, heads, T, D] each -> [1, T, heads, D]."""
    return _Attention.apply(query, key, value, plan, scaling)  # pyright: ignore[reportReturnType]


def _segments(layout: Layout) -> Iterator[Segment]:
    start = 0
    for prompt, responses in zip(layout.prompts, layout.responses, strict=True):
        yield Segment(start, prompt, start, 0)
        at = start + prompt
        for length in responses:
            if length:
                yield Segment(at, length, start, prompt)
            at += length
        start = at


def _alike(segments: Sequence[Segment]) -> Iterator[tuple[Segment, ...]]:
    """Sorted segments in batches that padding does not make much larger."""
    batch: list[Segment] = []
    for segment in segments:
        wider = [*batch, segment]
        queries = max(s.length for s in wider)
        padded = len(wider) * queries * (queries + max(s.prompt for s in wider))
        real = sum(s.length * (s.length + s.prompt) for s in wider)
        other_kind = bool(batch) and (batch[0].prompt > 0) != (segment.prompt > 0)
        if batch and (other_kind or (padded > PADDED * real and padded > SMALL) or padded > LARGE):
            yield tuple(batch)
            batch = []
        batch.append(segment)
    if batch:
        yield tuple(batch)


def _batch(segments: tuple[Segment, ...], window: int | None, dtype: torch.dtype) -> Batch:
    n, c, p = len(segments), max(s.length for s in segments), max(s.prompt for s in segments)
    queries, keys = np.zeros((n, c), np.int64), np.zeros((n, p + c), np.int64)
    allowed = np.zeros((n, c, p + c), dtype=bool)
    for i, s in enumerate(segments):
        queries[i, : s.length] = np.arange(s.start, s.start + s.length)
        keys[i, : s.prompt] = np.arange(s.prompt_start, s.prompt_start + s.prompt)
        keys[i, p : p + s.length] = queries[i, : s.length]
        asks = s.prompt + np.arange(s.length)[:, None]  # positions in the unpacked response
        stands = np.concatenate([np.arange(s.prompt), s.prompt + np.arange(s.length)])
        sees = (stands <= asks) & (asks - stands < (window or np.iinfo(np.int64).max))
        allowed[i, : s.length, : s.prompt] = sees[:, : s.prompt]
        allowed[i, : s.length, p : p + s.length] = sees[:, s.prompt :]
        allowed[i, s.length :, p] = True  # a row of padding must see something, or its softmax is no number
    mask = torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~torch.from_numpy(allowed), float("-inf"))
    real = torch.tensor([s.length for s in segments])
    padding = torch.arange(c)[None, :] >= real[:, None]  # [n, C]
    return Batch(
        segments=segments,
        queries=torch.from_numpy(queries.ravel()),
        keys=torch.from_numpy(keys.ravel()),
        mask=mask[:, None],
        padding=padding[:, None, :, None] if bool(padding.any()) else None,
        shape=(n, c, p),
    )


class _Attention(torch.autograd.Function):
    """Rows are gathered, never sliced: a slice's backward writes a full-size gradient."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, plan: Schedule, scaling: float) -> Tensor:
        _, heads, tokens, width = query.shape
        q, k, v = (x[0].transpose(0, 1).reshape(tokens, heads * width) for x in (query, key, value))
        outputs: list[Tensor] = []
        shares: list[Tensor] = []
        for batch in plan.batches:
            scores = _gather(q, batch.queries, batch, heads) @ _gather(k, batch.keys, batch, heads).transpose(2, 3)
            share = scores.mul_(scaling).add_(batch.mask).softmax(-1)  # [n, heads, C, P + C]
            if batch.padding is not None:
                share.masked_fill_(batch.padding, 0.0)  # so that padding has no gradient either
            outputs.append(_rows(share @ _gather(v, batch.keys, batch, heads)))
            shares.append(share)
        ctx.plan, ctx.scaling, ctx.heads = plan, scaling, heads
        ctx.save_for_backward(q, k, v, *shares)
        return torch.cat(outputs).index_select(0, plan.place).view(1, tokens, heads, width)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *shares = ctx.saved_tensors
        heads, plan = ctx.heads, ctx.plan
        g = gradients[0].reshape(q.shape)
        parts: list[tuple[Tensor, Tensor, Tensor]] = []  # [n * C, heads * D] for queries, own keys, own values
        prompts: list[tuple[Tensor, Tensor, Batch]] = []
        for batch, share in zip(plan.batches, shares, strict=True):
            n, c, p = batch.shape
            above = _gather(g, batch.queries, batch, heads)
            of_share = above @ _gather(v, batch.keys, batch, heads).transpose(2, 3)
            of_scores = share * (of_share - (share * of_share).sum(-1, keepdim=True))
            of_scores = of_scores.mul_(ctx.scaling)
            of_query = of_scores @ _gather(k, batch.keys, batch, heads)
            of_key = _rows(of_scores.transpose(2, 3) @ _gather(q, batch.queries, batch, heads)).view(n, p + c, -1)
            of_value = _rows(share.transpose(2, 3) @ above).view(n, p + c, -1)
            parts.append((_rows(of_query), of_key[:, p:].flatten(0, 1), of_value[:, p:].flatten(0, 1)))
            if p:
                prompts.append((of_key, of_value, batch))
        dq, dk, dv = (torch.cat(part).index_select(0, plan.place) for part in zip(*parts, strict=True))
        for of_key, of_value, batch in prompts:
            for i, s in enumerate(batch.segments):
                dk[s.prompt_start : s.prompt_start + s.prompt] += of_key[i, : s.prompt]
                dv[s.prompt_start : s.prompt_start + s.prompt] += of_value[i, : s.prompt]
        back = (x.view(1, x.shape[0], heads, -1).transpose(1, 2) for x in (dq, dk, dv))
        return (*back, None, None)


def _gather(rows: Tensor, places: Tensor, batch: Batch, heads: int) -> Tensor:
    """[T, heads * D] -> [n, heads, length, D]."""
    return rows.index_select(0, places).view(batch.shape[0], -1, heads, rows.shape[1] // heads).transpose(1, 2)


def _rows(x: Tensor) -> Tensor:
    """[n, heads, length, D] -> [n * length, heads * D]."""
    n, heads, length, width = x.shape
    return x.transpose(1, 2).reshape(n * length, heads * width)
