"""The kernels' index arithmetic, on a CPU: a plain loop stands in for flash attention; the masks say what is right."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tests.dense import LAYOUTS, by_mask, states_of
from truenorth.data.packing import Layout
from truenorth.models.kernels import (
    Kernel,
    Scores,
    Sequences,
    attend,
    attend_flex,
    attend_varlen,
    available,
    chosen,
    sequences_of,
)

CPU = torch.device("cpu")
ALL = frozenset[Kernel](("varlen", "flash", "flex"))


def one_sequence_after_the_other(
    query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scores: Scores
) -> Tensor:
    """Flash attention's contract, from its documentation: causal, aligned at the bottom right, windows to the left."""
    left = -1 if scores.window is None else scores.window - 1
    outputs: list[Tensor] = []
    starts, key_starts = sequences.query_starts.tolist(), sequences.key_starts.tolist()
    for s in range(len(starts) - 1):
        q = query[starts[s] : starts[s + 1]].transpose(0, 1)
        k, v = (x[key_starts[s] : key_starts[s + 1]].transpose(0, 1) for x in (key, value))
        assert q.shape[1] <= sequences.longest_query
        assert k.shape[1] <= sequences.longest_key
        row = torch.arange(q.shape[1])[:, None] + k.shape[1] - q.shape[1]
        column = torch.arange(k.shape[1])
        allowed = (column <= row) & ((column >= row - left) if left >= 0 else True)
        out = scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=scores.scaling, enable_gqa=True)
        outputs.append(out.transpose(0, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize("window", [None, 1, 3, 100])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_variable_lengths_attend_as_the_mask_says(layout: Layout, window: int | None) -> None:
    states, scores = states_of(layout), Scores(scaling=0.3, window=window)
    out = attend_varlen(states, sequences_of(layout, CPU), scores, one_sequence_after_the_other)
    torch.testing.assert_close(out, by_mask(states, layout, scores), rtol=0, atol=1e-12)


lengths = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=4)


@given(responses=lengths, prompts=st.lists(st.integers(1, 6), min_size=4, max_size=4), window=st.integers(1, 9))
def test_any_layout_attends_as_the_mask_says(responses: list[list[int]], prompts: list[int], window: int) -> None:
    layout = Layout(tuple(prompts[: len(responses)]), tuple(map(tuple, responses)))
    states, scores = states_of(layout), Scores(window=window)
    out = attend_varlen(states, sequences_of(layout, CPU), scores, one_sequence_after_the_other)
    torch.testing.assert_close(out, by_mask(states, layout, scores), rtol=0, atol=1e-12)


def test_gradients_of_a_prompt_are_summed_over_its_responses() -> None:
    layout, scores = LAYOUTS[2], Scores(window=4)
    gradients: list[Sequence[Tensor]] = []
    for how in ("varlen", "mask"):
        states = tuple(x.requires_grad_() for x in states_of(layout))
        query, key, value = states
        if how == "varlen":
            sequences = sequences_of(layout, CPU)
            out = attend_varlen((query, key, value), sequences, scores, one_sequence_after_the_other)
        else:
            out = by_mask((query, key, value), layout, scores)
        gradients.append(torch.autograd.grad((out * weights_of(out)).sum(), states))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile:UserWarning")
@pytest.mark.parametrize(
    "scores",
    [
        Scores(scaling=0.3),
        Scores(window=3),
        Scores(softcap=0.5),
        Scores(sinks=torch.tensor([-1.0, 0.0, 0.5, 2.0])),
        Scores(window=2, softcap=0.7, sinks=torch.tensor([3.0, 0.0, -3.0, 1.0])),
    ],
)
def test_flex_attends_as_the_mask_says(scores: Scores) -> None:
    layout = LAYOUTS[2]
    states = states_of(layout, dtype=torch.float32)
    with torch.no_grad():
        out = attend_flex(states, layout, scores)
    torch.testing.assert_close(out, by_mask(states, layout, scores), rtol=0, atol=2e-6)


def test_a_layout_is_laid_out_once() -> None:
    assert sequences_of(LAYOUTS[1], CPU) is sequences_of(Layout((5, 1), ((4, 3), (0, 2))), CPU)


def test_a_cpu_has_no_such_kernels() -> None:
    assert available(CPU) == frozenset()
    assert chosen(states_of(LAYOUTS[0], dtype=torch.bfloat16)[0], Scores(), available(CPU)) == "sdpa"


@pytest.mark.parametrize(
    ("scores", "there", "expected"),
    [
        (Scores(), ALL, "varlen"),
        (Scores(window=5), ALL, "varlen"),
        (Scores(softcap=30.0), ALL, "flash"),
        (Scores(softcap=30.0), ALL - {"flash"}, "flex"),
        (Scores(sinks=torch.zeros(4)), ALL, "flex"),
        (Scores(sinks=torch.zeros(4)), frozenset[Kernel](), "sdpa"),
    ],
)
def test_the_kernel_knows_what_the_layer_asks_for(scores: Scores, there: frozenset[Kernel], expected: Kernel) -> None:
    query = torch.zeros(1, 4, 3, 64, dtype=torch.bfloat16)
    assert chosen(query, scores, there) == expected


def test_float32_and_odd_heads_stay_exact() -> None:
    assert chosen(torch.zeros(1, 4, 3, 64), Scores(), ALL) == "sdpa"
    assert chosen(torch.zeros(1, 4, 3, 60, dtype=torch.bfloat16), Scores(), ALL) == "sdpa"
    assert chosen(torch.zeros(1, 4, 3, 512, dtype=torch.bfloat16), Scores(), ALL) == "sdpa"
    assert chosen(torch.zeros(1, 4, 3, 8, dtype=torch.bfloat16), Scores(), frozenset[Kernel](["flex"])) == "sdpa"


def test_what_autocast_computes_in_decides() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert chosen(torch.zeros(1, 4, 3, 64), Scores(), ALL) == "varlen"


def on_a_gpu(kernel: Kernel, layout: Layout, scores: Scores) -> tuple[Tensor, Sequence[Tensor]]:
    """What `kernel` gives in bfloat16, and the gradients of its inputs, back on the CPU in float64."""
    states = tuple(x.cuda().requires_grad_() for x in states_of(layout, width=16, dtype=torch.bfloat16))
    out = attend(kernel, (states[0], states[1], states[2]), layout, scores)
    gradients = torch.autograd.grad((out * weights_of(out)).sum(), states)
    return out.detach().cpu().double(), [gradient.cpu().double() for gradient in gradients]


def weights_of(out: Tensor) -> Tensor:
    return torch.linspace(-1, 1, out.numel(), dtype=out.dtype, device=out.device).view(out.shape)


@pytest.mark.gpu
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("kernel", "scores"),
    [
        ("varlen", Scores(scaling=0.3)),
        ("varlen", Scores(window=1)),
        ("varlen", Scores(window=3)),
        ("flex", Scores(window=3)),
        ("flex", Scores(softcap=0.5)),
        ("flex", Scores(sinks=torch.tensor([-1.0, 0.0, 0.5, 2.0]))),
        ("flash", Scores(window=3, softcap=0.5)),
    ],
)
def test_a_gpu_attends_as_the_mask_says(kernel: Kernel, layout: Layout, scores: Scores) -> None:
    device = torch.device("cuda")
    if kernel not in available(device):
        pytest.skip(f"{kernel} is not installed")
    sinks = None if scores.sinks is None else scores.sinks.cuda()
    out, gradients = on_a_gpu(kernel, layout, replace(scores, sinks=sinks))
    states = tuple(x.double().requires_grad_() for x in states_of(layout, width=16, dtype=torch.bfloat16))
    expected = by_mask((states[0], states[1], states[2]), layout, scores)
    theirs = torch.autograd.grad((expected * weights_of(expected)).sum(), states)
    torch.testing.assert_close(out, expected.detach(), rtol=0, atol=0.03)  # bfloat16 has 8 bits
    for ours, other in zip(gradients, theirs, strict=True):
        assert float((ours - other).norm()) <= 0.02 * float(other.norm())
