"""Rows laid out for a model that scores whole answers: its head reads the state at an answer's last token.

    answers  prompt, then each of K answers: K scores
    orders   prompt, then a pair's answers one behind the other, the chosen one first and then the rejected one first

For log-probs an answer's last token is no input, since nothing is predicted from it; here it is one.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from .packing import Layout, PackedBatch, pack
from .tokens import Ends, Ints, TokenizedRow


def pack_ends(rows: Sequence[TokenizedRow], indices: Sequence[int], ends: Ends) -> PackedBatch:
    """`rows` end to end as `pack` lays them, each answer or order whole, with its last token's place in `last`.

    `last` is [B, K, 1]; `length` stays that of the answers. Nothing is predicted: there are no targets.
    """
    tokens, positions, last, inputs = list[Ints](), list[np.ndarray](), list[int](), list[tuple[int, ...]]()
    start = 0
    for row in rows:
        prompt, sequences = len(row.prompt), ordered(row.responses) if ends == "orders" else row.responses
        tokens += [row.prompt, *sequences]
        positions += [np.arange(prompt), *(np.arange(prompt, prompt + len(sequence)) for sequence in sequences)]
        inputs.append(tuple(len(sequence) for sequence in sequences))
        last += (start + prompt - 1 + np.cumsum(inputs[-1])).tolist()
        start += prompt + sum(inputs[-1])
    nothing = torch.zeros(0, dtype=torch.int64)
    return replace(
        pack(rows, indices),
        tokens=_int64(np.concatenate(tokens)),
        positions=_int64(np.concatenate(positions)),
        layout=Layout(tuple(len(row.prompt) for row in rows), tuple(inputs)),
        predictor=nothing,
        targets=nothing,
        owner=nothing,
        last=torch.tensor(last).view(len(rows), -1, 1),
    )


def ordered(pair: Sequence[Ints]) -> tuple[Ints, Ints]:
    """A pair's answers one behind the other, in both orders."""
    first, second = pair
    return np.concatenate([first, second]), np.concatenate([second, first])


def _int64(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))
