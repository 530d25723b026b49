"""Kernels that torch.compile makes: the same steps, rounded elsewhere."""

import pytest
import torch
from torch.testing import assert_close

from truenorth.methods.online_merging import OnDARE
from truenorth.optim.draws import (
    BLOCK,
    PIECE,
    flags,
    key_of,
    mask,
    mask_circle,
    noise,
    noise_circle,
    places,
    runs,
)
from truenorth.optim.kernel_merge import KernelMerge
from truenorth.optim.kernels import Drawn, kernel
from truenorth.optim.movement import Given
from truenorth.optim.passes import ByKernels, ByOperations
from truenorth.optim.task_vector import held
from truenorth.optim.tensor_merge import TensorMerge

# torch's own, from within its compiler
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def _compiler():
    """Here the formulas are compiled for the CPU, where no run does: they are a GPU's."""
    from torch._dynamo.exc import BackendCompilerFailed  # a second, which tests of places need not wait

    try:
        kernel(torch.neg)(torch.zeros(2))
    except BackendCompilerFailed as missing:
        pytest.skip(str(missing))


def moved(kind, rule, n=2 * BLOCK + 1000):
    draw = torch.Generator().manual_seed(0)
    weights, movement, task = (torch.randn(n, generator=draw) for _ in range(3))
    merge = kind(rule, range(n), held(rule, task, range(n), key_of("task")))
    merge(weights, Given(movement), key_of("merge"))
    return weights


# To make a kernel takes about a second for each kind of step.


@pytest.mark.slow
@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize(
    "rule",
    [
        OnDARE(alpha=1e-3, keep=0.3),
        OnDARE(alpha=1e-3, keep=0.3, task_mask="fresh", stored="bfloat16"),
        OnDARE(alpha=1e-3, keep=0.02, task_mask="fresh", stored="bfloat16"),
        OnDARE(alpha=0, keep=0.04),
        OnDARE(alpha=1e-3, keep=1),
    ],
    ids=lambda rule: str(rule.keep),
)
def test_a_step_by_kernels_is_that_without_but_for_rounding(rule):
    assert_close(moved(KernelMerge, rule), moved(TensorMerge, rule), rtol=4 * 2**-23, atol=2**-20)


@pytest.mark.usefixtures("_compiler")
def test_passes_by_kernels_are_those_of_operations():
    draw = torch.Generator().manual_seed(0)
    weights, gradient = (torch.randn(64, 33, generator=draw) for _ in range(2))
    rows, columns = ((torch.rand(n, generator=draw), torch.rand(n, generator=draw)) for n in weights.shape)
    expected = weights.clone()
    ByOperations().move(expected, gradient, rows, columns, 0.1)
    ByKernels().move(weights, gradient, rows, columns, 0.1)
    assert_close(weights, expected, rtol=4 * 2**-23, atol=2**-23)
    by = (gradient, rows[0], columns[0])
    assert_close(ByKernels().squares(*by), ByOperations().squares(*by), rtol=1e-6, atol=0)
    for found, right in zip(ByKernels().sums(gradient, 0.1), ByOperations().sums(gradient, 0.1), strict=True):
        assert_close(found, right, rtol=1e-6, atol=1e-5)  # sums of 64 numbers about 1


@pytest.mark.slow
@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("keep", [0.02, 0.3])
def test_shards_move_by_kernels_as_the_whole(keep):
    rule, n, draw = OnDARE(alpha=1e-3, keep=keep), 2 * BLOCK + 1000, torch.Generator().manual_seed(0)
    start, movement, task = (torch.randn(n, generator=draw) for _ in range(3))

    def moved(span):
        part, found = slice(span.start, span.stop), start[span.start : span.stop].clone()
        merge = KernelMerge(rule, span, held(rule, task[part].clone(), span, key_of("task")))
        merge(found, Given(movement[part].clone()), key_of("merge"))
        return found

    cut = BLOCK + 17
    assert torch.equal(torch.cat([moved(range(cut)), moved(range(cut, n))]), moved(range(n)))


@pytest.mark.parametrize(
    "span", [range(3 * BLOCK), range(5, PIECE + 2 * BLOCK + 9), range(BLOCK - 7, BLOCK - 2)], ids=str
)
def test_rows_have_what_is_drawn_for_their_blocks(span):
    key, kept, noised = key_of(1), [], []
    for run in runs(span):
        rows = torch.empty(len(span))[run.within].view(len(run.blocks), -1)
        kept.append(Drawn(mask_circle(0.3, CPU), run.starts(key, CPU)).of(rows).flatten())
        noised.append(Drawn(noise_circle(CPU), run.starts(key, CPU)).of(rows).flatten())
    whole = range(span.start // BLOCK, -(-span.stop // BLOCK))
    part = slice(span.start - whole.start * BLOCK, span.stop - whole.start * BLOCK)
    like, block = torch.empty(0), slice(0, BLOCK)
    assert torch.equal(torch.cat(kept), torch.cat([mask(key, b, block, like, share=0.3) for b in whole])[part])
    assert torch.equal(torch.cat(noised), torch.cat([noise(key, b, block, like) for b in whole])[part])


def test_flags_are_where_the_places_are():
    span = range(3, PIECE + 1000)
    pairs = zip(flags(key_of(1), span, 0.01, CPU), places(key_of(1), span, 0.01, CPU), strict=True)
    for (within, kept), found in pairs:
        assert within == found.within
        assert torch.equal(kept.nonzero().flatten(), found.places)
