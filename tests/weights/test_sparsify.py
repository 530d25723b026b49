"""Which entries are kept: exact counts, ties in order, slices like the whole, means over masks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.merging import draw
from truenorth.weights.sparsify import count_of, cut, generator, keep_largest, keep_middle, keep_random

numbers = st.lists(st.floats(-4, 4, width=16), min_size=1, max_size=40)  # of 16 bits: many are equal


@given(numbers, st.floats(0.01, 1.0))
def test_the_largest_are_those_of_a_stable_sort(values: list[float], share: float) -> None:
    tensor, count = torch.tensor(values), count_of(len(values), share)
    first = tensor.abs().sort(descending=True, stable=True).indices[:count]
    assert cut([tensor], count).largest(tensor).nonzero().flatten().tolist() == sorted(first.tolist())


@given(
    numbers, st.floats(0.01, 1.0), st.integers(1, 7), st.sampled_from([torch.float32, torch.bfloat16, torch.float64])
)
def test_what_is_kept_is_what_the_mask_says(values: list[float], share: float, size: int, dtype: torch.dtype) -> None:
    tensor, count = torch.tensor(values, dtype=dtype), count_of(len(values), share)
    masked = tensor.where(cut([tensor], count).largest(tensor), 0)
    found = cut([tensor], count)
    assert torch.equal(torch.cat([found.keep(part) for part in tensor.split(size)]), masked)


@given(numbers, st.integers(1, 7))
def test_slices_are_cut_like_the_whole(values: list[float], size: int) -> None:
    tensor, count = torch.tensor(values), count_of(len(values), 0.4)
    parts = list(tensor.split(size))
    found = cut(parts, count)
    assert torch.equal(torch.cat([found.largest(part) for part in parts]), cut([tensor], count).largest(tensor))


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.999, 1.0])
def test_the_count_of_kept_entries_is_exact_however_many_are_equal(share: float) -> None:
    tensor = draw(0, 50, 40).to(torch.bfloat16).float()  # 2000 entries of a few hundred magnitudes
    assert int((keep_largest(tensor, share) != 0).sum()) == round(2000 * share)


def test_a_small_tensor_is_trimmed_too() -> None:
    # the released OnTIES keeps all of a tensor whose share is less than one entry
    assert int((keep_largest(draw(0, 30), 0.01) != 0).sum()) == 1


def test_everything_kept_is_the_tensor() -> None:
    tensor = draw(0, 7, 5)
    assert torch.equal(keep_largest(tensor, 1.0), tensor)
    assert torch.equal(keep_middle(tensor, smallest=0.0, largest=0.0), tensor)
    assert torch.equal(keep_random(tensor, 1.0, generator(0), rescale=True), tensor)


def test_both_ends_are_trimmed() -> None:
    tensor = torch.arange(1, 101).float()
    kept = keep_middle(tensor, smallest=0.85, largest=0.01)
    assert kept.nonzero().flatten().tolist() == list(range(85, 99))


def test_trimming_nothing_large_is_keeping_the_largest() -> None:
    tensor = draw(0, 200)
    assert torch.equal(keep_middle(tensor, smallest=0.75, largest=0.0), keep_largest(tensor, 0.25))


def test_the_mean_over_masks_is_the_tensor() -> None:
    tensor = torch.tensor([1.0, -2.0, 3.0])
    drawn = [keep_random(tensor, 0.25, generator(seed), rescale=True) for seed in range(4000)]
    error = torch.stack(drawn).mean(0) - tensor
    # standard deviation of the mean: |x| sqrt(3 / 4000)
    assert (error.abs() < 4 * tensor.abs() * (3 / 4000) ** 0.5).all()


def test_without_rescaling_what_stays_is_as_it_was() -> None:
    tensor = draw(0, 1000)
    kept = keep_random(tensor, 0.3, generator(0), rescale=False)
    assert torch.equal(kept[kept != 0], tensor[kept != 0])
    assert 0.2 < (kept != 0).float().mean() < 0.4


def test_random_masks_of_slices_are_those_of_the_whole() -> None:
    tensor, whole, parts = draw(0, 1000), generator(3, "w"), generator(3, "w")
    split = [keep_random(part, 0.5, parts, rescale=False) for part in tensor.split(37)]
    assert torch.equal(torch.cat(split), keep_random(tensor, 0.5, whole, rescale=False))


def test_generators_differ_by_seed_and_by_every_part_of_the_key() -> None:
    keys = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    assert len({float(torch.rand((), generator=generator(*key), dtype=torch.float64)) for key in keys}) == len(keys)
