"""A model that is measured: loaded when something of it is asked that does not lie on disk already."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedTokenizerBase

from ..data.tokens import TokenizedRows
from ..models.load import load_model
from ..models.logprobs import Model
from ..models.origin import fingerprint
from ..models.policy import Policy, Precision, fine_precision
from ..models.reference_cache import Kept, ReferenceCache
from ..models.scored_references import ENGINE

TOKENS_AT_ONCE = 8192  # of one forward pass


def _silent(_: str) -> None:
    pass


@dataclass
class Subject:
    """The model at `path`. What it says of rows is kept under `cache` by content: weights, rows, precision."""

    path: str
    tokenizer: PreTrainedTokenizerBase
    cache: Path
    trust_remote_code: bool = False
    said: Callable[[str], None] = field(default=_silent)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.path)

    @property
    def device(self) -> torch.device:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def precision(self) -> Precision:
        return fine_precision(self.device)

    @cached_property
    def model(self) -> Model:
        """The model itself, to draw answers with. Score with `policy`."""
        self.said(f"loading {self.path}")
        model = load_model(self.path, trust_remote_code=self.trust_remote_code)
        model.to(self.device)  # pyright: ignore[reportArgumentType]
        return model

    @cached_property
    def policy(self) -> Policy:
        return Policy.of(self.model, self.precision)

    def totals(self, rows: TokenizedRows) -> list[npt.NDArray[np.float64]]:
        """[K] nats of every row's answers. A kill loses at most the batch that it falls into."""
        way = f"{self.fingerprint} {rows.fingerprint} {ENGINE} {self.precision}"
        file = self.cache / "log_probs" / f"{hashlib.sha256(way.encode()).hexdigest()[:32]}.npy"
        kept = ReferenceCache(file, rows)
        if (missing := kept.missing(range(len(rows)))).size:
            self.said(f"scoring {len(missing):,} rows with {self.path}")
            kept.fill(missing, self.policy, budget=TOKENS_AT_ONCE)
        numbers = Kept.open(file, rows.first, writes=False)
        return [np.array(numbers.of(row), np.float64) for row in range(len(rows))]
