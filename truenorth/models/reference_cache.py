"""Log-probs of a reference, computed once and kept on disk: one float32 per response, NaN where not yet computed."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..data.packing import PackedBatch, pack, split_by_tokens
from ..data.tokens import TokenizedRows
from ..errors import NumericsError
from ..types import LogProbs
from .policy import Policy


class ReferenceCache:
    """The log-probs of every response of `rows` under one reference, in a file that outlives the run."""

    def __init__(self, file: Path, rows: TokenizedRows) -> None:
        self.file, self.rows = file, rows
        self._first = np.concatenate([[0], np.cumsum(rows.candidates)])  # [R + 1], where each row's responses begin
        if not file.exists():
            _create(file, int(self._first[-1]))
        self._nats = np.load(file, mmap_mode="r+", allow_pickle=False)

    def missing(self, indices: Sequence[int]) -> list[int]:
        """Those of the rows whose log-probs are not computed yet, each once."""
        wanted = np.unique(np.asarray(indices, dtype=np.int64))
        sums = np.add.reduceat(self._nats, self._first[:-1])  # [R], NaN where any response is: a kill may cut a row
        return [int(i) for i in wanted[np.isnan(sums[wanted])]]

    @torch.no_grad()
    def fill(self, indices: Sequence[int], reference: Policy, *, budget: int) -> int:
        """Compute what is missing of the rows at `indices`; how many rows that was. Safe to kill and call again.

        Raises NumericsError if the reference gives a row no finite log-prob.
        """
        missing = self.missing(indices)
        lengths, candidates = self.rows.lengths[missing], self.rows.candidates[missing]
        for places in split_by_tokens(lengths.tolist(), candidates.tolist(), budget):
            here = [missing[place] for place in places]
            totals = reference.log_probs(pack([self.rows[i] for i in here], here)).total.cpu().numpy()
            for i, total in zip(here, totals, strict=True):
                if not np.isfinite(total).all():
                    raise NumericsError(
                        f"the reference gives {self.rows[i].file}, row {self.rows[i].row} the log-probs "
                        f"{total.tolist()}. Its weights are broken, or they need --precision float32."
                    )
                self._nats[self._first[i] : self._first[i + 1]] = total
        self._nats.flush()
        return len(missing)

    def log_probs(self, batch: PackedBatch) -> LogProbs:
        """[B, K] nats of a batch packed from this cache's rows."""
        nats = np.stack([self._nats[self._first[i] : self._first[i + 1]] for i in batch.rows])
        assert not np.isnan(nats).any(), "a row is trained on whose reference was not computed"
        return LogProbs(torch.from_numpy(nats).to(batch.length.device), batch.length)


def _create(file: Path, responses: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    with new.open("wb") as out:
        np.save(out, np.full(responses, np.nan, dtype=np.float32), allow_pickle=False)
    new.replace(file)
