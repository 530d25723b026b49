import pytest
import torch

from tests.dense import LAYOUTS, by_mask, states_of
from truenorth.data.packing import Layout
from truenorth.models.attention import attend_by_sequence, visible
from truenorth.models.kernels import Scores

CPU = torch.device("cpu")


def test_the_last_tokens_see_all_before_them_and_themselves() -> None:
    assert visible(2, 5, None, CPU).int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


def test_a_window_counts_the_token_itself() -> None:
    assert visible(2, 4, 2, CPU).int().tolist() == [[0, 1, 1, 0], [0, 0, 1, 1]]


def test_every_token_sees_at_least_itself() -> None:
    assert visible(4, 4, 1, CPU).equal(torch.eye(4, dtype=torch.bool))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize(
    "scores",
    [
        Scores(),
        Scores(scaling=0.3),
        Scores(window=3),
        Scores(softcap=1.5),
        Scores(window=2, sinks=torch.tensor([0.5, -1.0, 2.0, 0.0])),
    ],
)
def test_one_sequence_after_the_other_equals_one_dense_mask(layout: Layout, scores: Scores) -> None:
    states = tuple(x.requires_grad_() for x in states_of(layout, dtype=torch.float32))
    expected, got = by_mask(states, layout, scores), attend_by_sequence(*states, layout, scores).transpose(1, 2)
    assert torch.allclose(got, expected, rtol=0, atol=1e-6)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    wanted, found = (torch.autograd.grad((out * weights).sum(), states) for out in (expected, got))
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-5)


def test_what_else_is_in_the_batch_changes_no_bit() -> None:
    alone, beside = Layout((7,), ((4, 9),)), Layout((7, 30), ((4, 9), (12, 3)))
    states = states_of(beside, dtype=torch.float32)
    whole = attend_by_sequence(*states, beside, Scores())[:, :, :20]
    assert torch.equal(attend_by_sequence(*(x[:, :, :20] for x in states), alone, Scores()), whole)
