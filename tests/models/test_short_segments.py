"""Batched attention over short segments equals attention with the dense mask, values and gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tests.tiny import rows_of
from truenorth.data.packing import Layout, pack
from truenorth.models.attention import visible
from truenorth.models.short_segments import attend_short, schedule

HEADS, WIDTH = 2, 4
SHAPES = st.lists(
    st.tuples(st.integers(1, 9), st.tuples(st.integers(1, 7), st.integers(1, 7))), min_size=1, max_size=7
)


def dense(q: Tensor, k: Tensor, v: Tensor, layout: Layout, window: int | None) -> Tensor:
    cpu = torch.device("cpu")
    masks = [visible(p, r, window, cpu) for p, r in zip(layout.prompts, layout.responses, strict=True)]
    mask = torch.block_diag(*masks).bool()
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.4).transpose(1, 2)


@given(SHAPES, st.sampled_from([None, 1, 3]))
@hypothesis_settings(max_examples=40)
def test_values_and_gradients_equal_those_of_the_dense_mask(
    shapes: list[tuple[int, tuple[int, int]]], window: int | None
) -> None:
    layout = pack(rows_of(shapes)).layout
    torch.manual_seed(0)
    inputs = [torch.randn(1, HEADS, sum(layout.groups), WIDTH, dtype=torch.float64, requires_grad=True) for _ in "qkv"]
    ours = attend_short(*inputs, schedule(layout, window, torch.float64), scaling=0.4)
    theirs = dense(*inputs, layout, window)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    above = torch.randn_like(ours)
    for a, b in zip(torch.autograd.grad(ours, inputs, above), torch.autograd.grad(theirs, inputs, above), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)


def test_bfloat16_is_as_near_to_float32_as_plain_attention() -> None:
    layout = pack(rows_of([(60, (30, 50)), (20, (90, 10)), (7, (3, 3))])).layout
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, HEADS, sum(layout.groups), 32).bfloat16() for _ in "qkv")
    exact = dense(q.float(), k.float(), v.float(), layout, None)
    masks = [visible(p, r, None, q.device) for p, r in zip(layout.prompts, layout.responses, strict=True)]
    scores = (q @ k.transpose(2, 3) * 0.4).masked_fill(~torch.block_diag(*masks).bool(), float("-inf"))
    plain = (scores.float().softmax(-1).bfloat16() @ v).transpose(1, 2)
    ours = attend_short(q, k, v, schedule(layout, None, torch.bfloat16), scaling=0.4)
    assert (ours.float() - exact).norm() < 1.1 * (plain.float() - exact).norm()


@pytest.mark.parametrize("many", [1, 40])
def test_batches_hold_every_segment_once_and_little_padding(many: int) -> None:
    layout = pack(rows_of([(5 + i, (1 + 3 * i, 4)) for i in range(many)])).layout
    plan = schedule(layout, None, torch.float32)
    assert sorted(plan.place.tolist()) == sorted(set(plan.place.tolist()))
    inputs = sum(n for responses in layout.responses for n in responses) + sum(layout.prompts)
    assert sum(s.length for batch in plan.batches for s in batch.segments) == inputs
    assert len(plan.batches) < 4 + many / 2
