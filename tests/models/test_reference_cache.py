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
from truenorth.types import Measures

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


@pytest.fixture
def asked() -> Measures:
    return frozenset({"tokens", "entropy"})


def test_what_is_asked_besides_is_kept_and_read(tmp_path: Path, asked: Measures) -> None:
    rows, reference = TokenizedRows.of(rows_of(SHAPES)), Policy.of(tiny_model(), "float32")
    ReferenceCache(tmp_path / "nats.npy", rows, asked=asked).fill([0, 1, 2], reference, budget=9)
    cache, batch = ReferenceCache(tmp_path / "nats.npy", rows, asked=asked), pack([rows[2], rows[0]], [2, 0])
    assert cache.missing([0, 1, 2]).tolist() == []
    read = cache.log_probs(batch)
    with torch.no_grad():
        scored = reference.log_probs(batch, asked)
    for name in ("total", "tokens", "entropy"):
        assert torch.allclose(getattr(read, name), getattr(scored, name), rtol=0, atol=1e-4), name
    assert torch.equal(read.owner, batch.owner)
    assert read.collision is None


def test_the_totals_of_other_runs_stay_when_more_is_asked(tmp_path: Path, asked: Measures) -> None:
    rows = TokenizedRows.of(rows_of(SHAPES))
    ReferenceCache(tmp_path / "nats.npy", rows).fill([0, 1], Policy.of(tiny_model(), "float32"), budget=100)
    before = np.load(tmp_path / "nats.npy")
    other = Policy.of(tiny_model(seed=1), "float32")  # so that any number that is written again shows
    assert ReferenceCache(tmp_path / "nats.npy", rows, asked=asked).fill([0, 1, 2], other, budget=100) == 3
    after = np.load(tmp_path / "nats.npy")
    assert np.array_equal(after[:4], before[:4])
    assert not np.isnan(after).any()


def test_nothing_but_totals_is_kept_where_nothing_else_is_asked(tmp_path: Path) -> None:
    rows = TokenizedRows.of(rows_of(SHAPES))
    ReferenceCache(tmp_path / "nats.npy", rows).fill([0, 1, 2], Policy.of(tiny_model(), "float32"), budget=100)
    assert [file.name for file in tmp_path.iterdir()] == ["nats.npy"]


def test_a_row_whose_tokens_a_kill_cut_is_computed_again(tmp_path: Path, asked: Measures) -> None:
    rows, reference = TokenizedRows.of(rows_of(SHAPES)), Policy.of(tiny_model(), "float32")
    cache = ReferenceCache(tmp_path / "nats.npy", rows, asked=asked)
    cache.fill([0, 1, 2], reference, budget=100)
    tokens = np.load(tmp_path / "nats.tokens.npy", mmap_mode="r+")
    whole = tokens.copy()
    tokens[7] = np.nan  # rows have 6, 2 and 6 response tokens
    tokens.flush()
    again = ReferenceCache(tmp_path / "nats.npy", rows, asked=asked)
    assert again.missing([0, 1, 2]).tolist() == [1]
    assert again.fill([0, 1, 2], reference, budget=100) == 1
    assert np.allclose(np.load(tmp_path / "nats.tokens.npy"), whole, rtol=0, atol=1e-4)
