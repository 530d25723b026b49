"""Averages, extrapolations and arcs: exact at their ends, and the same family."""

import math

import pytest
import torch

from tests.merging import draw
from truenorth.weights.arithmetic import add_vector, average, extrapolate, linear, slerp_weights, task_vector

A, B, C = draw(0, 6, 5), draw(1, 6, 5), draw(2, 6, 5)


def test_linear_takes_weights_as_they_are() -> None:
    torch.testing.assert_close(linear([A, B], [2.0, -0.5]), 2 * A - 0.5 * B)


def test_the_scale_of_an_averages_weights_is_free() -> None:
    torch.testing.assert_close(average([A, B, C], [1.0, 2.0, 3.0]), (A + 2 * B + 3 * C) / 6)
    torch.testing.assert_close(average([A, B, C], [10.0, 20.0, 30.0]), average([A, B, C], [1.0, 2.0, 3.0]))


def test_the_average_of_equals_is_themselves_to_the_bit() -> None:
    assert torch.equal(average([A, A, A], [0.2, 0.7, 0.1]), A)


@pytest.mark.parametrize("alone", range(3))
def test_a_weight_that_is_alone_gives_its_tensor(alone: int) -> None:
    weights = [float(place == alone) for place in range(3)]
    assert torch.equal(average([A, B, C], weights), [A, B, C][alone])


def test_inputs_are_left_as_they_are() -> None:
    before = A.clone()
    linear([A, B], [1.0, 1.0])
    average([A, B], [1.0, 1.0])
    add_vector(A, B, 2.0)
    assert torch.equal(A, before)


def test_extrapolating_by_nothing_is_the_end_and_by_minus_one_the_start() -> None:
    assert torch.equal(extrapolate(A, B, 0.0), B)
    assert torch.equal(extrapolate(A, B, -1.0), A)


@pytest.mark.parametrize("alpha", [-0.3, 0.5, 7.0])
def test_extrapolation_adds_a_multiple_of_the_task_vector(alpha: float) -> None:
    torch.testing.assert_close(extrapolate(A, B, alpha), add_vector(B, task_vector(B, A), alpha))


def test_the_ends_of_an_arc_are_its_tensors() -> None:
    assert slerp_weights(0.3, (1.0, 2.0), 0.0) == (1.0, 0.0)
    assert slerp_weights(0.3, (1.0, 2.0), 1.0) == (0.0, 1.0)


def test_an_arc_between_equal_norms_keeps_the_norm() -> None:
    a, b = A / A.norm(), B / B.norm()
    mixed = linear([a, b], slerp_weights(float(a.flatten() @ b.flatten()), (1.0, 1.0), 0.3))
    assert math.isclose(float(mixed.norm()), 1.0, rel_tol=1e-6)


@pytest.mark.parametrize("scale", [3.0, -3.0])
def test_parallel_ones_and_zeros_are_mixed_linearly(scale: float) -> None:
    assert slerp_weights(scale, (1.0, scale**2), 0.3) == (0.7, 0.3)
    assert slerp_weights(0.0, (0.0, 1.0), 0.3) == (0.7, 0.3)
