"""Log-probs of a reference, computed once and kept on disk: one float32 per response, NaN where not yet computed."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..data.loader import Indices, batches
from ..data.packing import PackedBatch, to_device
from ..data.tokens import TokenizedRows
from ..errors import NumericsError
from ..processes import ALONE, Group
from ..types import LogProbs
from .policy import Policy

AT_ONCE = 4096  # rows that are sorted into micro-batches together


class ReferenceCache:
    """The log-probs of every response of `rows` under one reference, in a file that outlives the run."""

    def __init__(self, file: Path, rows: TokenizedRows, *, writes: bool = True) -> None:
        self.file, self.rows = file, rows
        self._first = rows.first  # [R + 1], where each row's responses begin
        if not file.exists():
            _create(file, int(self._first[-1]))
        # All but the first process keep what is computed now to themselves; the first writes it down.
        self._nats = np.load(file, mmap_mode="r+" if writes else "c", allow_pickle=False)

    def missing(self, indices: Indices) -> npt.NDArray[np.int64]:
        """Those of the rows whose log-probs are not computed yet, each once."""
        wanted = np.unique(np.asarray(indices, dtype=np.int64))
        sums = np.add.reduceat(self._nats, self._first[:-1])  # [R], NaN where any response is: a kill may cut a row
        return wanted[np.isnan(sums[wanted])]

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
                totals = reference.log_probs(batch).total.cpu().numpy()
                for found, nats in group.gather(((), totals[:0]) if batch.filler else (batch.rows, totals)):
                    self._keep(found, nats)
        self._nats.flush()
        return len(missing)

    def _keep(self, rows: Sequence[int], totals: np.ndarray) -> None:
        """Store [B, K] nats of `rows`. Raises NumericsError where they are no numbers."""
        for i, total in zip(rows, totals, strict=True):
            if not np.isfinite(total).all():
                raise NumericsError(
                    f"the reference gives {self.rows[i].file}, row {self.rows[i].row} the log-probs "
                    f"{total.tolist()}. Its weights are broken, or they need --precision float32."
                )
            self._nats[self._first[i] : self._first[i + 1]] = total

    def log_probs(self, batch: PackedBatch) -> LogProbs:
        """[B, K] nats of a batch packed from this cache's rows."""
        nats = np.stack([self._nats[self._first[i] : self._first[i + 1]] for i in batch.rows])
        assert not np.isnan(nats).any(), "a row is trained on whose reference was not computed"
        return LogProbs(to_device(torch.from_numpy(nats), batch.length.device), batch.length)


def _create(file: Path, responses: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    with new.open("wb") as out:
        np.save(out, np.full(responses, np.nan, dtype=np.float32), allow_pickle=False)
    new.replace(file)
