"""The largest entries: exact, whatever was there at the steps before."""

import pytest
import torch

from truenorth.optim.draws import BLOCK
from truenorth.optim.largest import SAMPLED, Largest

N = BLOCK + 12345


def values_of(n=N, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


def after(*magnitudes):
    """What has seen tensors whose least of the largest were these."""
    largest = Largest()
    for magnitude in magnitudes:
        largest.trend.learn(magnitude)
    return largest


@pytest.mark.parametrize("keep", [1e-5, 0.001, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("before", [(), (1.0,), (1e-9,), (1e9,), (0.0,), (2.0, 1.0), "near", "near, growing"])
def test_they_are_exact_wherever_they_were_before(keep, before):
    values, count = values_of(), max(1, round(N * keep))
    exact = values.abs().kthvalue(N - count + 1).values
    before = {"near": (float(exact) * 1.01,), "near, growing": (float(exact) * 0.9, float(exact) * 0.97)}.get(
        before, before
    )
    cut = after(*before).cut(values, count)
    kept = torch.cat([cut.keep(piece) for piece in values.split(BLOCK)])
    assert torch.equal(kept != 0, values.abs() >= exact)
    places = after(*before).places(values, count)
    assert torch.equal(places, (values.abs() >= exact).nonzero().flatten())


@pytest.mark.parametrize("n", [1, 2, 1000, SAMPLED + 1, N])
def test_of_equal_ones_the_first_are_taken(n):
    values, count = torch.ones(n), max(1, n // 3)
    for largest in (after(), after(1.0), after(5.0)):
        cut = largest.cut(values, count)
        kept = torch.cat([cut.keep(piece) for piece in values.split(BLOCK)])
        assert torch.equal(kept.nonzero().flatten(), torch.arange(count))
        assert torch.equal(largest.places(values, count), torch.arange(count))


def test_zeros_and_infinities_are_ranked_too():
    values = torch.zeros(N)
    values[7], values[9], values[3] = torch.inf, -torch.inf, -1.0
    for count, expected in ((2, [7, 9]), (3, [3, 7, 9]), (5, [0, 1, 3, 7, 9])):
        assert Largest().places(values, count).tolist() == expected


def test_a_guess_that_grows_as_it_did_is_right_at_once(monkeypatch):
    values = values_of()
    largest = Largest()
    for step in range(3):
        largest.cut(values * 0.8**step, 1000)
    monkeypatch.setattr(torch.Tensor, "sort", None)  # what a sample needs
    largest.cut(values * 0.8**3, 1000)
    with pytest.raises(TypeError):
        largest.cut(values, 1000)
