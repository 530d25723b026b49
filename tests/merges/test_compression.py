"""An adapter of a lower rank: exact where nothing is cut, else as near as any of that rank."""

import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.continual.adapters import adapter, dense_sum, logits_of
from tests.tiny import tiny_directory
from truenorth.merges.adapters import Adapters
from truenorth.merges.compression import compressed
from truenorth.weights.writer import write_folder


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Path]]:
    folder = tmp_path_factory.mktemp("given")
    base = str(tiny_directory(folder / "sft"))
    return base, [adapter(base, folder / str(seed), seed=seed, alpha=2.0 + seed) for seed in range(2)]


def change(base: str, folders: list[Path], ratios: list[float]) -> dict[str, torch.Tensor]:
    """What the sum adds to each weight."""
    start = load_file(Path(base) / "model.safetensors")
    summed = dict(dense_sum(base, folders, ratios).named_parameters())
    return {name: summed[name].data - weight for name, weight in start.items() if "proj" in name}


def test_a_rank_that_cuts_nothing_leaves_the_model(given: tuple[str, list[Path]], tmp_path: Path) -> None:
    base, folders = given
    whole = Adapters(weights=(0.7, 0.3)).outcome(folders, None)
    small, error = compressed(whole, 4)
    write_folder(whole, tmp_path / "whole", card="")
    write_folder(small, tmp_path / "small", card="")
    assert error == 0.0
    ours, theirs = logits_of(base, tmp_path / "small"), logits_of(base, tmp_path / "whole")
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_error_is_that_of_the_dense_sum_and_the_least_of_that_rank(
    given: tuple[str, list[Path]], tmp_path: Path
) -> None:
    base, folders = given
    small, error = compressed(Adapters(weights=(0.7, 0.3)).outcome(folders, None), 1)
    write_folder(small, tmp_path / "small", card="")
    wanted, got = change(base, folders, [0.7, 0.3]), change(base, [tmp_path / "small"], [1.0])
    lost = sum(float((wanted[name] - got[name]).square().sum()) for name in wanted)
    whole = sum(float(delta.square().sum()) for delta in wanted.values())
    assert error == pytest.approx((lost / whole) ** 0.5, rel=1e-4)
    least = sum(float(torch.linalg.svdvals(delta)[1:].square().sum()) for delta in wanted.values())
    assert lost == pytest.approx(least, rel=1e-4)


def test_more_rank_is_less_error(given: tuple[str, list[Path]]) -> None:
    errors = [compressed(Adapters().outcome(given[1], None), rank)[1] for rank in (1, 2, 3, 4)]
    assert all(more < less for less, more in itertools.pairwise(errors))
