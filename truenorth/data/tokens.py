"""Tokens of rows, in a memory-mapped Arrow file: two million rows take no more memory than those in use."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int32]
ROWS_PER_BLOCK = 1024
END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # of an Arrow stream

SCHEMA = pa.schema(
    [
        ("prompt", pa.list_(pa.int32())),
        ("responses", pa.list_(pa.list_(pa.int32()))),
        ("scores", pa.list_(pa.float64())),
        ("columns", pa.string()),  # JSON
        ("file", pa.string()),
        ("row", pa.int64()),
        ("key", pa.string()),
        ("share", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class TokenizedRow:
    """One prompt with K responses, best first, as token ids."""

    prompt: Ints  # at least 1 token
    responses: tuple[Ints, ...]  # [K], at least 1 token each
    scores: tuple[float, ...] | None  # [K], higher is better
    columns: Mapping[str, float]  # weight, label, margin, ...
    file: str
    row: int  # 1-based
    key: str  # of the token ids, the same on every machine


def key_of(prompt: Ints, responses: Sequence[Ints]) -> str:
    """32 hex digits that stand for these token ids and their order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (prompt, *responses):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(part, dtype="<i4").tobytes())
    return digest.hexdigest()


class TokenizedRows(Sequence[TokenizedRow]):
    """Rows in an Arrow file. Tokens are read from it when asked for; lengths are in memory, 28 + 4 K bytes a row."""

    def __init__(self, table: Any) -> None:  # a pyarrow table of SCHEMA
        self._blocks: list[Any] = table.to_batches()
        self._ends = np.cumsum([block.num_rows for block in self._blocks], dtype=np.int64)
        prompts, responses, candidates = _sizes(self._blocks)
        self.prompt_lengths = prompts  # [R] int32 tokens
        self.response_lengths = responses  # [sum of K] int32 tokens, row after row
        self.candidates = candidates  # [R] int32, K
        self.first = _starts(candidates)  # [R + 1] int64, where each row's responses begin
        self.lengths = prompts + _sums(responses, self.first)  # [R] int32, tokens with the prompt once
        self.shares = _floats(self._blocks, "share")  # [R] float64, how often an epoch takes the row

    @classmethod
    def open(cls, path: Path) -> "TokenizedRows":
        """The rows of a whole file, memory-mapped."""
        return cls(pa.ipc.open_stream(pa.memory_map(str(path))).read_all())

    @classmethod
    def of(cls, rows: Iterable[TokenizedRow], *, share: float = 1.0) -> "TokenizedRows":
        """The rows given, in memory: for rounds and tests."""
        return cls(pa.Table.from_batches([_block(list(rows), share)], SCHEMA))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._at(i) for i in range(*index.indices(len(self)))]
        i = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= i < len(self):
            raise IndexError(f"row {index} of {len(self)}.")
        return self._at(i)

    def _at(self, i: int) -> TokenizedRow:
        b = int(np.searchsorted(self._ends, i, side="right"))
        block = self._blocks[b]
        at = i - int(self._ends[b]) + block.num_rows
        value = {name: block.column(n)[at] for n, name in enumerate(SCHEMA.names[:-1])}
        scores = value["scores"].as_py()
        return TokenizedRow(
            prompt=value["prompt"].values.to_numpy(),
            responses=tuple(response.values.to_numpy() for response in value["responses"].values),
            scores=None if scores is None else tuple(scores),
            columns=json.loads(value["columns"].as_py()),
            file=value["file"].as_py(),
            row=value["row"].as_py(),
            key=value["key"].as_py(),
        )

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with one response."""
        if not len(self):
            return 0
        return int((np.repeat(self.prompt_lengths, self.candidates) + self.response_lengths).max())

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits that stand for all rows' token ids, in their order."""
        digest = hashlib.blake2b(digest_size=16)
        for block in self._blocks:
            digest.update("".join(block.column("key").to_pylist()).encode())
        return digest.hexdigest()

    @cached_property
    def identity(self) -> str:
        """32 hex digits that stand for all that is trained on: tokens, scores, columns and shares, in their order."""
        counts, scores, columns = (hashlib.blake2b(digest_size=16) for _ in range(3))
        for block in self._blocks:
            given = block.column("scores")
            counts.update(given.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False))
            scores.update(given.flatten().to_numpy())
            columns.update("".join(text + "\n" for text in block.column("columns").to_pylist()).encode())
        whole = hashlib.blake2b(self.fingerprint.encode(), digest_size=16)
        for part in (counts.digest(), scores.digest(), columns.digest(), self.shares.tobytes()):
            whole.update(part)
        return whole.hexdigest()


def blocks(rows: Iterable[TokenizedRow], *, share: float) -> bytes:
    """Rows as Arrow record batches of `ROWS_PER_BLOCK`: what stands between the schema and END in a file of rows."""
    rest, written = iter(rows), list[bytes]()
    while block := list(islice(rest, ROWS_PER_BLOCK)):
        written.append(_block(block, share).serialize().to_pybytes())
    return b"".join(written)


def _block(rows: Sequence[TokenizedRow], share: float) -> Any:
    responses = [response for row in rows for response in row.responses]
    return pa.record_batch(
        [
            _lists([row.prompt for row in rows]),
            pa.ListArray.from_arrays(_offsets([len(row.responses) for row in rows]), _lists(responses)),
            pa.array([row.scores for row in rows], pa.list_(pa.float64())),
            pa.array([json.dumps(dict(row.columns)) for row in rows], pa.string()),
            pa.array([row.file for row in rows], pa.string()),
            pa.array([row.row for row in rows], pa.int64()),
            pa.array([row.key for row in rows], pa.string()),
            pa.array(np.full(len(rows), share)),
        ],
        schema=SCHEMA,
    )


def _offsets(counts: Sequence[int]) -> Any:
    return pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))


def _lists(arrays: Sequence[Ints]) -> Any:
    flat = np.concatenate([np.empty(0, np.int32), *arrays]).astype(np.int32)
    return pa.ListArray.from_arrays(_offsets([len(array) for array in arrays]), pa.array(flat))


def _sizes(blocks: Sequence[Any]) -> tuple[Ints, Ints, Ints]:
    """Tokens of the prompts [R], tokens of the responses [sum of K], responses of the rows [R]."""

    def lengths(arrays: Iterable[Any]) -> Ints:
        return np.concatenate([np.empty(0, np.int32), *(array.value_lengths().to_numpy() for array in arrays)])

    responses = [block.column("responses") for block in blocks]
    return (
        lengths(block.column("prompt") for block in blocks),
        lengths(array.flatten() for array in responses),
        lengths(responses),
    )


def _floats(blocks: Sequence[Any], name: str) -> npt.NDArray[np.float64]:
    columns = [block.column(name).to_numpy() for block in blocks]
    return np.concatenate([np.empty(0, np.float64), *columns])


def _starts(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Where each stretch begins if they stand end to end, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _sums(values: Ints, first: npt.NDArray[np.int64]) -> Ints:
    """The sum of each stretch values[first[i] : first[i + 1]]."""
    totals = _starts(values)
    return (totals[first[1:]] - totals[first[:-1]]).astype(np.int32)
