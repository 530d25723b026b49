"""Kernels that torch.compile makes: the same steps, rounded elsewhere."""

import os
import subprocess
import sys

import pytest
import torch

from truenorth.errors import SettingsError
from truenorth.methods.online_merging import OnDARE, OnTIES
from truenorth.optim import units
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
from truenorth.optim.hfac import HFac
from truenorth.optim.kernel_merge import KernelMerge
from truenorth.optim.kernels import Drawn, require_compiler
from truenorth.optim.merging import Merged
from truenorth.optim.movement import Given
from truenorth.optim.task_vector import held
from truenorth.optim.update import AdamW, RMSprop

# torch's own, from within its compiler
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")

CPU = torch.device("cpu")
SHAPES = {"wide": (700, 450), "parts": (64, 64), "odd": (33, 7), "column": (5, 1), "bias": (7,)}
ADAM, RMS = AdamW(learning_rate=1e-3, weight_decay=0.1), RMSprop(learning_rate=1e-3)
STEPS = [HFac(learning_rate=1e-3, weight_decay=0.1), ADAM.replace(merging=OnDARE(alpha=1e-3, keep=0.3))]
MORE = [
    ADAM.replace(merging=OnDARE(alpha=1e-3, keep=0.02)),
    ADAM.replace(merging=OnDARE(alpha=1e-3, keep=0.02, task_mask="fresh", stored="bfloat16")),
    ADAM.replace(merging=OnDARE(alpha=0, keep=0.04)),
    ADAM.replace(merging=OnDARE(alpha=1e-3, keep=0.3, task_mask="fresh")),
    ADAM.replace(merging=OnDARE(alpha=1e-3, keep=1, every=2)),
    RMS.replace(merging=OnDARE(alpha=1e-3, keep=0.02)),
    HFac(learning_rate=1e-3, merging=OnTIES(alpha=1e-3, keep=0.3)),
]


@pytest.fixture(scope="module")
def _compiler():
    try:
        require_compiler("update.compile", CPU)
    except SettingsError as missing:
        pytest.skip(str(missing))


def trained(update, steps=4):
    """Parameters and the optimizer's state after some steps."""
    draw = torch.Generator().manual_seed(0)
    named = {n: torch.nn.Parameter(0.02 * torch.randn(s, generator=draw)) for n, s in SHAPES.items()}
    task = {name: 1e-2 * torch.randn(p.shape, generator=draw) for name, p in named.items()}
    optimizer = update.build(named.values())
    if (rule := update.merging) is not None:
        optimizer = Merged(optimizer, rule, task, named, seed=0, by_kernels=update.compile)
    for _ in range(steps):
        for parameter in named.values():
            parameter.grad = torch.randn(parameter.shape, generator=draw)
        optimizer.step()
    return {name: parameter.detach() for name, parameter in named.items()}


def assert_the_same_but_for_rounding(update, monkeypatch):
    monkeypatch.setattr(units, "SMALL", 0)  # so that small tensors have kernels too
    found, expected = trained(update.replace(compile=True)), trained(update)
    step = update.learning_rate * (1.0 if update.merging is None else max(update.merging.shares))
    for name in expected:
        # Each step is rounded to a weight's neighbours, perhaps to the other one, and is itself right to some ulps.
        torch.testing.assert_close(found[name], expected[name], rtol=4 * 2**-23, atol=1e-5 * step, msg=name)


# To make a kernel takes about a second for each kind of step.


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("update", STEPS, ids=lambda u: u.kind if u.merging is None else f"{u.merging.kind}")
def test_a_step_by_kernels_is_that_without_but_for_rounding(update, monkeypatch):
    assert_the_same_but_for_rounding(update, monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("update", MORE, ids=lambda u: f"{u.kind}-{u.merging.kind}-{u.merging.keep}")
def test_so_are_those_of_all_rules(update, monkeypatch):
    assert_the_same_but_for_rounding(update, monkeypatch)


@pytest.mark.usefixtures("_compiler")
def test_two_runs_by_kernels_give_the_same_bits():
    update = STEPS[1].replace(compile=True)
    first, second = trained(update), trained(update)
    assert all(torch.equal(first[name], second[name]) for name in first)


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


def test_what_has_no_kernels_is_not_compiled():
    for rule in (None, OnTIES()):
        with pytest.raises(SettingsError, match="nothing to compile"):
            AdamW(compile=True, merging=rule)
    assert HFac(compile=True).compile
    assert AdamW(compile=True, merging=OnDARE()).compile


@pytest.mark.slow  # another process: what a compiler is found at is kept in this one
def test_a_missing_compiler_is_named(tmp_path):
    asked = "import torch; from truenorth.optim.kernels import require_compiler; "
    asked += "require_compiler('update.compile', torch.device('cpu'))"
    environment = os.environ | {"CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "SettingsError: update.compile" in last
    assert "/nowhere/g++" in last
    assert "Install a C++ compiler" in last
