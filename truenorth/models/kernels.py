"""Attention of packed batches by a GPU's kernels, which take sequences of any length laid end to end.

Queries stay as they lie: a prompt, its responses, the next prompt. Each is one sequence, and the keys of a response
are its prompt's and its own:

    queries    p p p p | a a a | b b          three sequences of 4, 3 and 2 queries
    keys       p p p p | p p p p a a a | p p p p b b

With fewer queries than keys these kernels align the causal mask at the bottom right: the last query sees every key,
the first query of a response its prompt and itself. That is the rule of a packed batch, and a window counts positions.
"""

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, create_block_mask, flex_attention
from torch.nn.attention.varlen import varlen_attn

from ..data.packing import Layout, to_device

# "sdpa" is `scaled_dot_product_attention`, sequence by sequence as in attention.py: everywhere, and exact.
Kernel = Literal["varlen", "flash", "flex", "sdpa"]

HALF = (torch.bfloat16, torch.float16)  # all that flash attention computes in
WIDEST = 256  # of a head, for flash attention
NARROWEST = 16  # for FlexAttention


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """How a layer turns the products of queries and keys into shares."""

    scaling: float | None = None  # None: one over the root of the head's width
    window: int | None = None  # positions that a token looks back on, itself included
    softcap: float | None = None
    sinks: Tensor | None = None  # [heads], a score that takes a share and gives nothing


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """A layout as kernels of variable lengths want it, on their device. Empty responses are left out."""

    keys: Tensor  # [keys] int64, the token of the packed row that each key is taken from
    query_starts: Tensor  # [S + 1] int32
    key_starts: Tensor  # [S + 1] int32
    longest_query: int
    longest_key: int


class VariableLength(Protocol):
    """What `torch.nn.attention.varlen.varlen_attn` is called with."""

    def __call__(
        self,
        query: Tensor,  # [T, heads, head width]
        key: Tensor,  # [keys, key heads, head width]
        value: Tensor,
        sequences: Sequences,
        scores: Scores,
        /,
    ) -> Tensor: ...


@lru_cache
def available(device: torch.device) -> frozenset[Kernel]:
    """The kernels that `device` can run besides "sdpa". bfloat16 begins with Ampere."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return frozenset()
    flash = importlib.util.find_spec("flash_attn") is not None
    return frozenset[Kernel](("varlen", "flash", "flex") if flash else ("varlen", "flex"))


def chosen(query: Tensor, scores: Scores, there: frozenset[Kernel]) -> Kernel:
    """The fastest kernel of those `there` that is exact for `query`, [1, heads, T, head width], and `scores`."""
    width = query.shape[-1]
    if computed_in(query) not in HALF or width % 8 or width > WIDEST:
        return "sdpa"  # float32 stays float32
    if scores.sinks is None and scores.softcap is None and "varlen" in there:
        return "varlen"
    if scores.sinks is None and "flash" in there:
        return "flash"
    return "flex" if "flex" in there and width >= NARROWEST else "sdpa"


def computed_in(x: Tensor) -> torch.dtype:
    """The dtype that autocast computes in, if it is on. Rotary embeddings leave queries in float32 under it."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def attend(kernel: Kernel, states: tuple[Tensor, Tensor, Tensor], layout: Layout, scores: Scores) -> Tensor:
    """Attention of a packed batch by `kernel`, not "sdpa". Returns [1, T, heads, head width].

    `states` are query [1, heads, T, head width], key and value [1, key heads, T, head width].
    """
    dtype = computed_in(states[0])
    query, key, value = (x.to(dtype) for x in states)
    if kernel == "flex":
        return attend_flex((query, key, value), layout, scores)
    call = varlen_of_torch if kernel == "varlen" else varlen_of_flash_attention
    return attend_varlen((query, key, value), sequences_of(layout, query.device), scores, call)


def attend_varlen(
    states: tuple[Tensor, Tensor, Tensor], sequences: Sequences, scores: Scores, call: VariableLength
) -> Tensor:
    """The same by a kernel of variable lengths, `call`. Keys and values of a prompt are copied for each response."""
    query, key, value = (x[0].transpose(0, 1) for x in states)  # [T, heads, head width]
    key, value = key.index_select(0, sequences.keys), value.index_select(0, sequences.keys)
    return call(query, key, value, sequences, scores)[None]


def varlen_of_torch(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scores: Scores) -> Tensor:
    """Flash attention as torch ships it."""
    grouped = {"enable_gqa": True} if query.shape[1] != key.shape[1] and _TORCH_ASKS_FOR_GROUPS else {}
    out = varlen_attn(
        query,
        key,
        value,
        sequences.query_starts,
        sequences.key_starts,
        sequences.longest_query,
        sequences.longest_key,
        scale=scores.scaling,
        window_size=_window(scores),
        **grouped,  # pyright: ignore[reportArgumentType]
    )
    assert isinstance(out, Tensor)
    return out


_TORCH_ASKS_FOR_GROUPS = "enable_gqa" in inspect.signature(varlen_attn).parameters  # torch 2.11 takes them unasked


def varlen_of_flash_attention(
    query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scores: Scores
) -> Tensor:
    """Flash attention of the package `flash_attn`, which also knows soft caps."""
    run: Callable[..., Tensor] = importlib.import_module("flash_attn").flash_attn_varlen_func
    return run(
        query,
        key,
        value,
        sequences.query_starts,
        sequences.key_starts,
        sequences.longest_query,
        sequences.longest_key,
        softmax_scale=scores.scaling,
        causal=True,
        window_size=_window(scores),
        softcap=scores.softcap or 0.0,
    )


def _window(scores: Scores) -> tuple[int, int]:
    """Keys to the left and right of a query's own; -1 is all."""
    return (-1 if scores.window is None else scores.window - 1, 0)


@lru_cache(maxsize=64)  # every layer of a model, its reference and its recomputation ask for the same few
def sequences_of(layout: Layout, device: torch.device) -> Sequences:
    """The sequences of `layout`, copied to `device` without waiting for it.

    >>> one = sequences_of(Layout(prompts=(2,), responses=((1, 0, 2),)), torch.device("cpu"))
    >>> one.keys.tolist(), one.query_starts.tolist(), one.key_starts.tolist()
    ([0, 1, 0, 1, 2, 0, 1, 3, 4], [0, 2, 3, 5], [0, 2, 5, 9])
    """
    keys: list[Tensor] = []
    queries_each: list[int] = []
    keys_each: list[int] = []
    shared, at = torch.arange(0), 0
    for _, begin, tokens in layout.sequences:
        own, at = torch.arange(at, at + tokens), at + tokens
        if begin == 0:
            shared = own  # a prompt
        if tokens:
            keys += [own] if begin == 0 else [shared, own]
            queries_each.append(tokens)
            keys_each.append(begin + tokens)
    return Sequences(
        keys=to_device(torch.cat(keys), device),
        query_starts=to_device(_starts(queries_each), device),
        key_starts=to_device(_starts(keys_each), device),
        longest_query=max(queries_each),
        longest_key=max(keys_each),
    )


def _starts(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)


def attend_flex(states: tuple[Tensor, Tensor, Tensor], layout: Layout, scores: Scores) -> Tensor:
    """The same by FlexAttention, which also knows soft caps and sinks. Compiled on a GPU; a CPU has no backward."""
    query, key, value = states
    run: Callable[..., Any] = _compiled_flex() if query.device.type == "cuda" else flex_attention
    out, more = run(
        query,
        key,
        value,
        score_mod=None if scores.softcap is None else _capped(scores.softcap),
        block_mask=block_mask(layout, scores.window, query.device),
        scale=scores.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
        return_aux=AuxRequest(lse=True),
    )
    if scores.sinks is not None:  # what is left to the keys: exp(lse) / (exp(lse) + exp(sink))
        left = torch.sigmoid(more.lse - scores.sinks.float().view(1, -1, 1))
        out = (out * left[..., None]).to(out.dtype)
    return out.transpose(1, 2)


@lru_cache(maxsize=1)
def _compiled_flex() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=True)  # each micro-batch has another length


@lru_cache(maxsize=8)
def _capped(softcap: float) -> Callable[..., Tensor]:
    def cap(score: Tensor, *_: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return cap


@lru_cache(maxsize=64)
def block_mask(layout: Layout, window: int | None, device: torch.device) -> BlockMask:
    """Which blocks of a packed batch's scores are needed, for FlexAttention. Made once for all layers of a window."""
    owner, prompt, position = (to_device(x, device) for x in _places(layout))
    reach = 2**31 if window is None else window  # no length of this batch: another number would compile again

    def allowed(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        mine = (owner[key] == owner[query]) | (owner[key] == prompt[query])
        distance = position[query] - position[key]
        return mine & (distance >= 0) & (distance < reach)

    return create_block_mask(allowed, None, None, len(owner), len(owner), device=device)


def _places(layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """[T] each: the sequence that a token belongs to, the sequence that is its prompt, its position."""
    sequences = layout.sequences
    owner = torch.cat([torch.full((tokens,), i) for i, (_, _, tokens) in enumerate(sequences)])
    position = torch.cat([torch.arange(begin, begin + tokens) for _, begin, tokens in sequences])
    return owner, torch.tensor([prompt for prompt, _, _ in sequences])[owner], position
