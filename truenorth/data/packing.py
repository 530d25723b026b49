"""A micro-batch is one row of tokens: each prompt stands once and its K responses follow, with no padding.

    tokens     p p p p a a a b b   q q c d d d     two prompts (p, q) with two responses each
    positions  0 1 2 3 4 5 6 4 5   0 1 2 2 3 4     restart at the prompt's end for each response

A response's last token predicts nothing, so it is a target but no input: it never enters the model. Degraded versions
of the responses, where there are any, follow behind them. Nothing of these is a target: only the state at their last
input is read, the one that predicts their last token.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from .tokens import TokenizedRow


@dataclass(frozen=True, slots=True)
class Layout:
    """How many input tokens each prompt and each response of a packed batch has, in the order in which they lie."""

    prompts: tuple[int, ...]  # [B], at least 1 each
    responses: tuple[tuple[int, ...], ...]  # [B][K, then degraded], without each one's last token, so 0 is possible

    @property
    def groups(self) -> list[int]:
        """[B] tokens of each prompt with all its responses."""
        return [p + sum(r) for p, r in zip(self.prompts, self.responses, strict=True)]

    @property
    def sequences(self) -> list[tuple[int, int, int]]:
        """Each prompt and response in turn: the place of its prompt among them, its first position, its tokens.

        >>> Layout(prompts=(2, 3), responses=((1, 0), (4,))).sequences
        [(0, 0, 2), (0, 2, 1), (0, 2, 0), (3, 0, 3), (3, 3, 4)]
        """
        found = list[tuple[int, int, int]]()
        for prompt, responses in zip(self.prompts, self.responses, strict=True):
            place = len(found)
            found += [(place, 0, prompt), *((place, prompt, tokens) for tokens in responses)]
        return found


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """B prompts with K responses each, laid end to end. See the module's first lines."""

    tokens: Tensor  # [T] int64, inputs
    positions: Tensor  # [T] int64
    layout: Layout
    predictor: Tensor  # [N] int64 in 0..T-1, the input whose hidden state predicts each response token
    targets: Tensor  # [N] int64, the response tokens
    owner: Tensor  # [N] int64 in 0..B*K-1, the response that each belongs to
    length: Tensor  # [B, K] int64, response tokens
    rows: tuple[int, ...]  # [B], which row of the data each prompt is
    rewards: Tensor | None = None  # [B, K]
    wins: Tensor | None = None  # [B, K, K] P(row beats column)
    columns: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])  # [B] each
    last: Tensor | None = None  # [B, K, 1 + M] int64 in 0..T-1, last inputs of each response and its degraded versions
    filler: bool = False  # counts for nothing: a process without rows computes it to stay in step with the others

    @property
    def prompts(self) -> int:
        return self.length.shape[0]

    @property
    def candidates(self) -> int:
        return self.length.shape[1]

    def to(self, device: torch.device) -> Self:
        if self.tokens.device == device:
            return self
        names = ("tokens", "positions", "predictor", "targets", "owner", "length")
        moved: dict[str, object] = {name: to_device(getattr(self, name), device) for name in names}
        moved |= {
            name: None if (tensor := getattr(self, name)) is None else to_device(tensor, device)
            for name in ("rewards", "wins", "last")
        }
        moved["columns"] = {name: to_device(column, device) for name, column in self.columns.items()}
        return replace(self, **moved)

    def without_degraded(self) -> Self:
        """The batch for a model that has only the responses to score."""
        if self.last is None:
            return self
        k, counts, kept = self.candidates, list[int](), list[bool]()
        for prompt, responses in zip(self.layout.prompts, self.layout.responses, strict=True):
            counts += [prompt + sum(responses[:k]), sum(responses[k:])]
            kept += [True, False]
        keep = torch.tensor(kept).repeat_interleave(torch.tensor(counts)).to(self.tokens.device)  # [T]
        return replace(
            self,
            tokens=self.tokens[keep],
            positions=self.positions[keep],
            layout=Layout(self.layout.prompts, tuple(responses[:k] for responses in self.layout.responses)),
            predictor=(keep.cumsum(0) - 1)[self.predictor],
            last=None,
        )


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """`x` on `device`; to a GPU from pinned memory, so that the host goes on while it is copied."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def pack(rows: Sequence[TokenizedRow], indices: Sequence[int] | None = None) -> PackedBatch:
    """Lay `rows`, all with the same number of responses and of degraded versions, end to end.

    `indices` are their places in the data (default 0..B-1). Scores, wins and columns stay where all rows have them.
    Raises ValueError if the numbers of responses differ, or those of degraded versions.
    """
    for what, counts in (
        ("responses", {len(row.responses) for row in rows}),
        ("degraded versions", {len(row.degraded) for row in rows}),
    ):
        if len(counts) != 1:
            raise ValueError(f"a micro-batch needs one number of {what} per prompt, got {sorted(counts)}.")
    tokens: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    predictor: list[np.ndarray] = []
    last = list[int]()
    start = 0  # of the group, in the packed row
    for row in rows:
        prompt = len(row.prompt)
        tokens.append(row.prompt)
        positions.append(np.arange(prompt))
        at = start + prompt  # of the response
        for k, response in enumerate((*row.responses, *row.degraded)):
            inputs = len(response) - 1
            tokens.append(response[:-1])
            positions.append(np.arange(prompt, prompt + inputs))
            if k < len(row.responses):
                predictor.append(np.array([start + prompt - 1]))  # the prompt's last token predicts the first
                predictor.append(np.arange(at, at + inputs))
            at += inputs
            last.append(at - 1 if inputs else start + prompt - 1)
        start = at
    lengths = np.array([[len(response) for response in row.responses] for row in rows])
    inputs = (tuple(len(response) - 1 for response in (*row.responses, *row.degraded)) for row in rows)
    return PackedBatch(
        tokens=_int64(np.concatenate(tokens)),
        positions=_int64(np.concatenate(positions)),
        layout=Layout(tuple(len(row.prompt) for row in rows), tuple(inputs)),
        predictor=_int64(np.concatenate(predictor)),
        targets=_int64(np.concatenate([response for row in rows for response in row.responses])),
        owner=_int64(np.repeat(np.arange(lengths.size), lengths.ravel())),
        length=_int64(lengths),
        rows=tuple(indices) if indices is not None else tuple(range(len(rows))),
        rewards=_numbers([row.scores for row in rows]),
        wins=_numbers([row.wins for row in rows]),
        columns=_columns(rows),
        last=_last(last, rows) if rows[0].degraded else None,
    )


def _last(places: Sequence[int], rows: Sequence[TokenizedRow]) -> Tensor:
    return by_version(torch.tensor(places).view(len(rows), -1), len(rows[0].responses))


def by_version(values: Tensor, k: int) -> Tensor:
    """[B, K + K * M, ...] of the responses and then of each one's degraded versions -> [B, K, 1 + M, ...].

    >>> by_version(torch.tensor([[0, 1, 10, 20, 11, 21]]), k=2).tolist()
    [[[0, 10, 20], [1, 11, 21]]]
    """
    responses, worse = values[:, :k], values[:, k:]
    return torch.cat([responses.unsqueeze(2), worse.unflatten(1, (k, -1))], dim=2)


def _int64(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))


def _numbers(values: Sequence[object]) -> Tensor | None:
    """What every row has, as a tensor; None where one has nothing."""
    return None if any(value is None for value in values) else torch.tensor(values, dtype=torch.float32)


def _columns(rows: Sequence[TokenizedRow]) -> dict[str, Tensor]:
    names = set[str]().union(*(row.columns for row in rows))
    everywhere = sorted(name for name in names if all(name in row.columns for row in rows))
    columns = {name: torch.tensor([row.columns[name] for row in rows], dtype=torch.float32) for name in everywhere}
    if "weight" in names and "weight" not in columns:  # a row without a weight counts once
        columns["weight"] = torch.tensor([row.columns.get("weight", 1.0) for row in rows], dtype=torch.float32)
    return columns


def divide(lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Places of the rows of each of `parts` processes, about as many tokens each: the longest first, to the emptiest.

    >>> divide([5, 9, 4, 3], 2)
    [[1, 3], [0, 2]]
    """
    shares: list[list[int]] = [[] for _ in range(parts)]
    emptiest = [(0, part) for part in range(parts)]  # a heap of (tokens, part)
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        tokens, part = heapq.heappop(emptiest)
        shares[part].append(i)
        heapq.heappush(emptiest, (tokens + lengths[i], part))
    return shares


def split_by_tokens(lengths: Sequence[int], candidates: Sequence[int], budget: int) -> list[list[int]]:
    """Places of the rows of each micro-batch: one K each, at most `budget` tokens, longest first.

    First fit over decreasing lengths: the first micro-batch is the largest, so what does not fit in memory shows at
    once. A row longer than the budget stands alone.

    >>> split_by_tokens([5, 9, 4, 3], [2, 2, 2, 2], budget=10)
    [[1], [0, 2], [3]]
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fits = (b for b, left in enumerate(room) if left >= lengths[i] and candidates[bins[b][0]] == candidates[i])
        b = next(fits, None)
        if b is None:
            bins.append([i])
            room.append(budget - lengths[i])
        else:
            bins[b].append(i)
            room[b] -= lengths[i]
    return bins
