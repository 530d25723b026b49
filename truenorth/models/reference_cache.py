"""What a reference says of rows, computed once and kept on disk: float32 numbers, NaN where not yet computed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..data.loader import Indices, batches
from ..data.packing import PackedBatch, to_device
from ..data.tokens import TokenizedRows
from ..errors import NumericsError
from ..processes import ALONE, Group
from ..types import NOTHING, LogProbs, Measures
from .policy import Policy

AT_ONCE = 4096  # rows that are sorted into micro-batches together


@dataclass(frozen=True, slots=True)
class Kept:
    """The numbers of all rows, end to end in a file."""

    numbers: npt.NDArray[np.float32]
    first: npt.NDArray[np.int64]  # [R + 1], where each row's numbers begin

    @classmethod
    def open(cls, file: Path, first: npt.NDArray[np.int64], *, writes: bool) -> "Kept":
        if not file.exists():
            _create(file, int(first[-1]))
        # All but the first process keep what is computed now to themselves; the first writes it down.
        return cls(np.load(file, mmap_mode="r+" if writes else "c", allow_pickle=False), first)

    def of(self, row: int) -> npt.NDArray[np.float32]:
        """The numbers of one row; writing to them writes to the file."""
        return self.numbers[self.first[row] : self.first[row + 1]]

    def missing(self) -> npt.NDArray[np.bool_]:
        """[R] whether any number of a row is: a kill may cut a row."""
        return np.isnan(np.add.reduceat(self.numbers, self.first[:-1]))


class ReferenceCache:
    """The log-probs of every response of `rows` under one reference, in a file that outlives the run.

    What is `asked` besides stands in files of its own beside it, named after it, so that totals serve every objective.
    """

    def __init__(self, file: Path, rows: TokenizedRows, *, asked: Measures = NOTHING, writes: bool = True) -> None:
        self.rows = rows
        self._kept = {"total": Kept.open(file, rows.first, writes=writes)}
        for name in sorted(asked):
            first = _first_tokens(rows) if name == "tokens" else rows.first
            self._kept[name] = Kept.open(file.with_suffix(f".{name}{file.suffix}"), first, writes=writes)
        self.asked = asked

    def missing(self, indices: Indices) -> npt.NDArray[np.int64]:
        """Those of the rows of which something is not computed yet, each once."""
        wanted = np.unique(np.asarray(indices, dtype=np.int64))
        lacking = np.logical_or.reduce([kept.missing() for kept in self._kept.values()])
        return wanted[lacking[wanted]]

    @torch.no_grad()
    def fill(self, indices: Indices, reference: Policy, *, budget: int, group: Group = ALONE) -> int:
        """Compute what is missing of the rows at `indices`; how many rows that was. Safe to kill and call again.

        The processes of `group` share the rows out. Raises NumericsError, in each, if the reference gives a row no
        finite log-prob.
        """
        missing = np.unique(np.concatenate(group.gather(self.missing(indices))))
        for start in range(0, len(missing), AT_ONCE):
            rows = missing[start : start + AT_ONCE].tolist()
            for batch in batches(self.rows, rows, budget=budget, part=group.rank, parts=group.size):
                found = self._by_row(reference.log_probs(batch, self.asked))
                for of_rows, numbers in group.gather(((), {}) if batch.filler else (batch.rows, found)):
                    self._keep(of_rows, numbers)
        for kept in self._kept.values():
            if isinstance(kept.numbers, np.memmap):
                kept.numbers.flush()
        return len(missing)

    def _by_row(self, found: LogProbs) -> dict[str, list[npt.NDArray[np.float32]]]:
        """By name the numbers of each row, as they are kept."""
        tokens = found.length.sum(1).tolist()
        parts = dict[str, list[npt.NDArray[np.float32]]]()
        for name in self._kept:
            numbers: Tensor = getattr(found, name).cpu()
            parts[name] = [part.numpy() for part in (numbers.split(tokens) if name == "tokens" else numbers)]
        return parts

    def _keep(self, rows: Sequence[int], found: Mapping[str, Sequence[npt.NDArray[np.float32]]]) -> None:
        """Store what is new of `rows`. Raises NumericsError where it is no number."""
        for name, numbers in found.items():
            for i, new in zip(rows, numbers, strict=True):
                if not np.isfinite(new).all():
                    what = "log-probs" if name == "total" else name
                    raise NumericsError(
                        f"the reference gives {self.rows[i].file}, row {self.rows[i].row} the {what} "
                        f"{new.tolist()}. Its weights are broken, or they need --precision float32."
                    )
                kept = self._kept[name].of(i)
                kept[:] = np.where(np.isnan(kept), new, kept)  # what other runs have read stays as it is

    def log_probs(self, batch: PackedBatch) -> LogProbs:
        """[B, K] nats of a batch packed from this cache's rows, and what was asked for."""
        read = dict[str, Tensor]()
        for name, kept in self._kept.items():
            parts = [kept.of(i) for i in batch.rows]
            numbers = np.concatenate(parts) if name == "tokens" else np.stack(parts)
            assert not np.isnan(numbers).any(), "a row is trained on whose reference was not computed"
            read[name] = to_device(torch.from_numpy(numbers), batch.length.device)
        total = read.pop("total")
        return replace(LogProbs(total, batch.length), **read)


def _first_tokens(rows: TokenizedRows) -> npt.NDArray[np.int64]:
    """[R + 1] where the tokens of each row's responses begin, if all responses stand end to end."""
    ends = np.concatenate([[0], np.cumsum(rows.response_lengths, dtype=np.int64)])
    return ends[rows.first]


def _create(file: Path, numbers: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    mapped = np.lib.format.open_memmap(new, mode="w+", dtype=np.float32, shape=(numbers,))
    mapped[:] = np.nan  # in place: of two million rows, tokens take gigabytes
    mapped.flush()
    new.replace(file)
