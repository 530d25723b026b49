"""Tokens of rows, in a memory-mapped Arrow file: two million rows take no more memory than those in use."""

import copy
import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int32]
Ends = Literal["answers", "orders"]
Number = TypeVar("Number", np.int32, np.float64)
ROWS_PER_BLOCK = 1024
BLOCKS_HELD, ROWS_HELD = 64, 64  # looked at before their pages are given back
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
        ("degraded", pa.list_(pa.list_(pa.int32()))),
        ("wins", pa.list_(pa.list_(pa.float64()))),
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
    key: str  # of the token ids, the same on every machine; not of degraded ones, which no reference scores
    degraded: tuple[Ints, ...] = ()  # [K * M], M worse versions of each response in turn, at least 1 token each
    wins: tuple[tuple[float, ...], ...] | None = None  # [K, K] P(row beats column)


def key_of(prompt: Ints, responses: Sequence[Ints]) -> str:
    """32 hex digits that stand for these token ids and their order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (prompt, *responses):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(part, dtype="<i4").tobytes())
    return digest.hexdigest()


class TokenizedRows(Sequence[TokenizedRow]):
    """Rows in an Arrow file. Tokens are read from it when asked for; lengths are in memory, 28 + 4 K bytes a row."""

    def __init__(self, blocks: Iterable[Any], mapped: mmap.mmap | None = None) -> None:
        self._mapped, self._fetched = mapped, 0
        self.ends: Ends | None = None  # how a model that scores whole answers reads them; None: token by token
        self._blocks: list[Any] = []  # record batches of SCHEMA
        prompts, responses, candidates, degraded = list[Ints](), list[Ints](), list[Ints](), list[Ints]()
        shares, versions = list[npt.NDArray[np.float64]](), 0
        for block in self._scanned(blocks):
            self._blocks.append(block)
            prompts.append(_lengths(block.column("prompt")))
            responses.append(_lengths(block.column("responses").flatten()))
            candidates.append(_lengths(block.column("responses")))
            degraded.append(_tokens_of(block.column("degraded")))
            versions += len(block.column("degraded").flatten())
            shares.append(block.column("share").to_numpy().copy())  # else the pages would be read again below
        self._ends = np.cumsum([block.num_rows for block in self._blocks], dtype=np.int64)
        self.prompt_lengths = _joined(prompts, np.int32)  # [R] int32 tokens
        self.response_lengths = _joined(responses, np.int32)  # [sum of K] int32 tokens, row after row
        self.candidates = _joined(candidates, np.int32)  # [R] int32, K
        self.first = _starts(self.candidates)  # [R + 1] int64, where each row's responses begin
        # [R] int32, tokens of all that goes through the model, with the prompt once
        self.lengths = self.prompt_lengths + _sums(self.response_lengths, self.first) + _joined(degraded, np.int32)
        # M, degraded versions of each response; one number in all rows, 0 for most methods
        self.degraded = versions // max(1, len(self.response_lengths))
        self.shares = _joined(shares, np.float64)  # [R] float64, how often an epoch takes the row

    @classmethod
    def open(cls, path: Path) -> "TokenizedRows":
        """The rows of a whole file, memory-mapped."""
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return cls(pa.ipc.open_stream(pa.py_buffer(mapped)), mapped)

    def read_at_ends(self, ends: Ends) -> "TokenizedRows":
        """The same rows for a model that scores whole answers, see `ends`. Pairs alone have orders."""
        rows = copy.copy(self)
        rows.ends = ends
        if ends == "orders":
            rows.lengths = self.lengths + _sums(self.response_lengths, self.first)  # each answer stands there twice
        return rows

    @classmethod
    def of(cls, rows: Iterable[TokenizedRow], *, share: float = 1.0) -> "TokenizedRows":
        """The rows given, in memory: for rounds and tests."""
        return cls([_block(list(rows), share)])

    def _scanned(self, blocks: Iterable[Any]) -> Iterator[Any]:
        """`blocks`, one after another, and memory stays flat."""
        for place, block in enumerate(blocks):
            if place % BLOCKS_HELD == 0:
                self._release()
            yield block
        self._release()

    def _release(self) -> None:
        """Give back the mapped pages that were looked at: they would count as this process's memory, up to all of the
        file. They stay in the system's file cache, and come back when they are read again."""
        if self._mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)

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
        self._fetched += 1
        if self._fetched % ROWS_HELD == 0:
            self._release()
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
            degraded=tuple(response.values.to_numpy() for response in value["degraded"].values),
            wins=None if (wins := value["wins"].as_py()) is None else tuple(map(tuple, wins)),
        )

    def origins(self) -> Iterator[tuple[str, int]]:
        """[R] file and 1-based row that each was made of, without its tokens."""
        for block in self._scanned(self._blocks):
            yield from zip(block.column("file").to_pylist(), block.column("row").to_pylist(), strict=True)

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with one response, or with both where their orders are read."""
        if not len(self):
            return 0
        if self.ends == "orders":
            return int((self.prompt_lengths + _sums(self.response_lengths, self.first)).max())
        return int((np.repeat(self.prompt_lengths, self.candidates) + self.response_lengths).max())

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits that stand for all rows' token ids, in their order."""
        digest = hashlib.blake2b(digest_size=16)
        for block in self._scanned(self._blocks):
            digest.update("".join(block.column("key").to_pylist()).encode())
        return digest.hexdigest()

    @cached_property
    def identity(self) -> str:
        """32 hex digits that stand for all that is trained on: tokens, scores, columns and shares, in their order."""
        counts, scores, columns, degraded, wins = (hashlib.blake2b(digest_size=16) for _ in range(5))
        any_degraded = False
        for block in self._scanned(self._blocks):
            given = block.column("scores")
            counts.update(given.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False))
            scores.update(given.flatten().to_numpy())
            columns.update("".join(text + "\n" for text in block.column("columns").to_pylist()).encode())
            worse = block.column("degraded").flatten()
            for numbers in (_lengths(block.column("degraded")), _lengths(worse), worse.flatten().to_numpy()):
                degraded.update(numbers.tobytes())
            any_degraded = any_degraded or len(worse) > 0
            wins.update(block.column("wins").flatten().flatten().to_numpy().tobytes())
        whole = hashlib.blake2b(self.fingerprint.encode(), digest_size=16)
        for part in (counts.digest(), scores.digest(), columns.digest(), self.shares.tobytes()):
            whole.update(part)
        if any_degraded:
            whole.update(degraded.digest())
        if wins.digest() != hashlib.blake2b(digest_size=16).digest():
            whole.update(wins.digest())
        return whole.hexdigest()


def blocks(rows: Iterable[TokenizedRow], *, share: float) -> bytes:
    """Rows as Arrow record batches of `ROWS_PER_BLOCK`: what stands between the schema and END in a file of rows."""
    rest, written = iter(rows), list[bytes]()
    while block := list(islice(rest, ROWS_PER_BLOCK)):
        written.append(_block(block, share).serialize().to_pybytes())
    return b"".join(written)


def _block(rows: Sequence[TokenizedRow], share: float) -> Any:
    return pa.record_batch(
        [
            _lists([row.prompt for row in rows]),
            _lists_of_lists([row.responses for row in rows]),
            pa.array([row.scores for row in rows], pa.list_(pa.float64())),
            pa.array([json.dumps(dict(row.columns)) for row in rows], pa.string()),
            pa.array([row.file for row in rows], pa.string()),
            pa.array([row.row for row in rows], pa.int64()),
            pa.array([row.key for row in rows], pa.string()),
            _lists_of_lists([row.degraded for row in rows]),
            pa.array([row.wins for row in rows], pa.list_(pa.list_(pa.float64()))),
            pa.array(np.full(len(rows), share)),
        ],
        schema=SCHEMA,
    )


def _offsets(counts: Sequence[int]) -> Any:
    return pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))


def _lists(arrays: Sequence[Ints]) -> Any:
    flat = np.concatenate([np.empty(0, np.int32), *arrays]).astype(np.int32)
    return pa.ListArray.from_arrays(_offsets([len(array) for array in arrays]), pa.array(flat))


def _lists_of_lists(rows: Sequence[Sequence[Ints]]) -> Any:
    return pa.ListArray.from_arrays(
        _offsets([len(arrays) for arrays in rows]), _lists([a for row in rows for a in row])
    )


def _lengths(array: Any) -> Ints:
    return array.value_lengths().to_numpy()


def _tokens_of(rows: Any) -> Ints:
    """[R] tokens of all responses of each row."""
    return _sums(_lengths(rows.flatten()), _starts(_lengths(rows)))


def _joined(arrays: Sequence[npt.NDArray[Number]], dtype: type[Number]) -> npt.NDArray[Number]:
    return np.concatenate([np.empty(0, dtype), *arrays])


def _starts(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Where each stretch begins if they stand end to end, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _sums(values: Ints, first: npt.NDArray[np.int64]) -> Ints:
    """The sum of each stretch values[first[i] : first[i + 1]]."""
    totals = _starts(values)
    return (totals[first[1:]] - totals[first[:-1]]).astype(np.int32)
