"""Log-probs of a reference on disk are the reference's own, and a kill or a broken model never goes unseen."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import rows_of, tiny_model
from truenorth.data.packing import pack
from truenorth.data.tokens import TokenizedRows
from truenorth.errors import NumericsError
from truenorth.models.policy import Policy
from truenorth.models.reference_cache import ReferenceCache

SHAPES = [(3, (2, 4)), (5, (1, 1)), (2, (3, 3))]


def test_what_is_read_is_what_the_reference_gives(tmp_path: Path) -> None:
    rows, reference = TokenizedRows.of(rows_of(SHAPES)), Policy.of(tiny_model(), "float32")
    cache = ReferenceCache(tmp_path / "nats.npy", rows)
    assert cache.fill([0, 1, 2], reference, budget=100) == 3
    batch = pack([rows[2], rows[0]], [2, 0])
    with torch.no_grad():
        assert torch.allclose(cache.log_probs(batch).total, reference.log_probs(batch).total, rtol=0, atol=1e-4)


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    rows, reference = TokenizedRows.of(rows_of(SHAPES)), Policy.of(tiny_model(), "float32")
    ReferenceCache(tmp_path / "nats.npy", rows).fill([0, 1, 2], reference, budget=100)
    assert ReferenceCache(tmp_path / "nats.npy", rows).missing([0, 1, 2]).tolist() == []


def test_a_row_that_a_kill_cut_in_half_is_computed_again(tmp_path: Path) -> None:
    rows = TokenizedRows.of(rows_of(SHAPES))
    np.save(tmp_path / "nats.npy", np.array([-1, np.nan, -1, -1, np.nan, np.nan], dtype=np.float32))
    assert ReferenceCache(tmp_path / "nats.npy", rows).missing([0, 1, 2]).tolist() == [0, 2]


def test_a_reference_without_finite_log_probs_is_refused(tmp_path: Path) -> None:
    rows, model = TokenizedRows.of(rows_of(SHAPES)), tiny_model()
    reference = Policy.of(model, "float32")
    model.get_output_embeddings().weight.data.fill_(float("nan"))
    with pytest.raises(NumericsError, match=r"the reference gives tiny, row \d the log-probs \[nan, nan\]"):
        ReferenceCache(tmp_path / "nats.npy", rows).fill([0, 1, 2], reference, budget=100)
