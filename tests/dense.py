"""Attention of a packed batch by one dense mask over the whole packed row: what every faster way must equal."""

import torch
from torch import Tensor

from truenorth.data.packing import Layout
from truenorth.models.kernels import Scores

LAYOUTS = [
    Layout(prompts=(3,), responses=((2,),)),
    Layout(prompts=(5, 1), responses=((4, 3), (0, 2))),
    Layout(prompts=(2, 7, 1), responses=((0, 0, 0, 0), (3, 1, 0, 6), (5, 5, 5, 5))),
    Layout(prompts=(9,), responses=(tuple(range(8)),)),
    Layout(prompts=(4, 3), responses=((6,), (1, 2, 3))),  # K differs
]
States = tuple[Tensor, Tensor, Tensor]


def states_of(layout: Layout, *, width: int = 8, dtype: torch.dtype = torch.float64) -> States:
    """Random query of 4 heads of `width`, key and value of 2."""
    draw = torch.Generator().manual_seed(0)
    tokens = sum(layout.groups)
    shapes = [(1, heads, tokens, width) for heads in (4, 2, 2)]
    query, key, value = (torch.randn(shape, generator=draw, dtype=dtype) for shape in shapes)
    return query, key, value


def by_mask(states: States, layout: Layout, scores: Scores) -> Tensor:
    """[1, T, heads, head width]."""
    query, key, value = states
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    groups = [group_mask(p, r, scores.window) for p, r in zip(layout.prompts, layout.responses, strict=True)]
    products = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scores.scaling is None else scores.scaling)
    if scores.softcap is not None:
        products = scores.softcap * torch.tanh(products / scores.softcap)
    products = products.masked_fill(~torch.block_diag(*groups).bool(), float("-inf"))
    if scores.sinks is not None:
        sink = scores.sinks.to(products).view(1, -1, 1, 1).expand(*products.shape[:-1], 1)
        products = torch.cat([products, sink], -1)
    return (products.softmax(-1)[..., : value.shape[2]] @ value).transpose(1, 2)


def group_mask(prompt: int, responses: tuple[int, ...], window: int | None) -> Tensor:
    """[L, L] bool: which token of a prompt and its responses may look at which."""
    owner = torch.repeat_interleave(torch.arange(1 + len(responses)), torch.tensor([prompt, *responses]))
    position = torch.cat([torch.arange(prompt), *(torch.arange(prompt, prompt + n) for n in responses)])
    distance = position[:, None] - position[None, :]
    allowed = (distance >= 0) & ((owner[None, :] == 0) | (owner[None, :] == owner[:, None]))
    return allowed if window is None else allowed & (distance < window)
