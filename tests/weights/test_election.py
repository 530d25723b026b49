"""Elected signs and means over those that agree."""

import torch

from truenorth.weights.election import agreed_mean, elect_sign

A, B, C = (torch.tensor(x) for x in ([1.0, 1.0, 0.0, 2.0], [1.0, 1.0, 0.0, -2.0], [-3.0, -1.5, 0.0, 0.0]))


def test_large_entries_outvote_many_by_magnitude_and_not_by_count() -> None:
    assert elect_sign([A, B, C], [1.0] * 3).tolist() == [-1, 1, 1, 1]
    assert elect_sign([A, B, C], [1.0] * 3, "count").tolist() == [1, 1, 1, 1]


def test_weights_count_in_both_votes() -> None:
    assert elect_sign([A, C], [4.0, 1.0])[0] == 1
    assert elect_sign([A, C], [1.0, 2.0], "count")[0] == -1


def test_only_those_with_the_elected_sign_are_averaged() -> None:
    assert agreed_mean([A, B, C], [1.0] * 3, elect_sign([A, B, C], [1.0] * 3)).tolist() == [-3.0, 1.0, 0.0, 2.0]


def test_the_mean_is_by_weight() -> None:
    plus = torch.tensor([1.0])
    assert agreed_mean([torch.tensor([1.0]), torch.tensor([4.0])], [2.0, 1.0], plus).tolist() == [2.0]


def test_one_vector_agrees_with_itself() -> None:
    assert torch.equal(agreed_mean([A], [1.0], elect_sign([A], [1.0])), A)
