"""Cuts found from a sample: the same as without one, whatever the sample says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.merging import draw
from truenorth.weights import bracket
from truenorth.weights.bracket import Least, Sample, Search
from truenorth.weights.slices import NamedTensor, in_memory
from truenorth.weights.sparsify import Cut, count_of, cut, cuts

numbers = st.lists(st.floats(-4, 4, width=16), min_size=1, max_size=40)  # of 16 bits: many are equal


def least(tensor: Tensor, count: int, sample: Tensor) -> Least | None:
    """By one pass over slices of 7 entries."""
    search = Search(count, Sample.of(sample, tensor.numel()).bracket(count))
    for part in tensor.split(7):
        search.show(part.abs().numpy())
    return search.least()


def counted(tensor: Tensor, count: int) -> Least:
    """The same by a count, without a sample."""
    found = cut([tensor], count)
    larger = count - found.ties
    return Least(found.magnitude, larger, int((tensor.abs() == found.magnitude).sum()))


def named(*vectors: Tensor, size: int) -> NamedTensor:
    """Models whose task vectors are these."""
    base = in_memory(torch.zeros_like(vectors[0]))
    return NamedTensor("w", len(vectors[0]), [in_memory(vector) for vector in vectors], base, slice_size=size)


@given(numbers, numbers, st.floats(0.01, 1.0))
def test_whatever_a_sample_says_the_least_is_right_or_not_found(
    values: list[float], sampled: list[float], share: float
) -> None:
    tensor, count = torch.tensor(values), count_of(len(values), share)
    assert least(tensor, count, torch.tensor(sampled)) in (None, counted(tensor, count))
    assert least(tensor, count, tensor) == counted(tensor, count)


@settings(max_examples=40)
@given(numbers, st.floats(0.0, 1.0), st.integers(1, 7))
def test_all_models_are_cut_in_one_pass_as_each_alone(values: list[float], share: float, size: int) -> None:
    one, count = torch.tensor(values), count_of(len(values), share)
    other = one.flip(0) * torch.arange(len(one))
    counts = [count, len(one)]
    assert cuts(named(one, other, size=size), counts) == [[cut([v], n) for n in counts] for v in (one, other)]


@pytest.mark.parametrize("keep", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(500), torch.full((500,), -2.0), torch.tensor([3.0]), torch.eye(30).flatten(), torch.arange(500.0)],
    ids=["zeros", "all equal", "one entry", "mostly zeros", "all different"],
)
def test_ends_and_ties_are_cut_as_by_counting_and_leave_the_exact_number(tensor: Tensor, keep: float) -> None:
    count = count_of(tensor.numel(), keep)
    ((found,),) = cuts(named(tensor, size=64), [count])
    assert found == cut([tensor], count)
    assert sum(int(found.largest(part).sum()) for part in tensor.split(64)) == count


def test_a_sample_that_misleads_is_seen_and_the_entries_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = draw(0, 40_000)
    assert least(tensor, 8000, tensor[::17]) == counted(tensor, 8000)
    assert least(tensor, 8000, 9 + tensor[::17].abs()) is None
    assert least(tensor, 8000, tensor[::17] / 9) is None

    def misled(of: NamedTensor) -> list[Sample]:
        return [Sample.of(9 + tensor[::17].abs(), of.numel)]

    monkeypatch.setattr(NamedTensor, "samples", misled)
    assert cuts(named(tensor, size=999), [8000]) == [[cut([tensor], 8000)]]


def test_many_ties_at_the_cut_are_counted_and_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bracket, "ROOM", 0)
    tensor = torch.tensor([0.0] * 7000 + [1.0] * 2000 + [2.0] * 1000)
    assert least(tensor, 2000, tensor[::5]) == Least(1.0, larger=1000, equal=2000)


def test_a_bracket_with_more_entries_than_there_is_room_for_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = draw(0, 1000)
    assert least(tensor, 200, tensor[:3]) == counted(tensor, 200)
    monkeypatch.setattr(bracket, "ROOM", 10)
    assert least(tensor, 200, tensor[:3]) is None
    assert cuts(named(tensor, size=100), [200]) == [[cut([tensor], 200)]]


def test_what_is_no_number_is_larger_than_all_others() -> None:
    tensor = draw(0, 1000)
    tensor[[5, 500]] = torch.nan
    ((found,),) = cuts(named(tensor, size=64), [200])
    assert found == cut([tensor], 200) == Cut(cut([tensor.nan_to_num(9.0)], 200).magnitude, 1)


@pytest.mark.parametrize(("numel", "size"), [(1, 8), (100, 7), (5000, 512)])
def test_a_task_vectors_sample_is_of_its_own_entries_from_every_slice(numel: int, size: int) -> None:
    base, tuned = draw(0, numel), torch.arange(1.0, numel + 1)
    tensor = NamedTensor("w", numel, [in_memory(base + tuned)], in_memory(base), slice_size=size)
    (sample,), vector = tensor.samples(), (base + tuned) - base
    assert torch.isin(torch.from_numpy(sample.sizes), vector.abs()).all()
    assert len({int(entry - 0.5) // size for entry in sample.sizes}) == len(list(tensor.spans()))
