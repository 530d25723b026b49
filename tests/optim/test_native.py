"""Steps in C: the same as torch's operations take, rounded elsewhere."""

import os
import shutil
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from truenorth.errors import SettingsError
from truenorth.methods.online_merging import OnDARE, OnTIES
from truenorth.optim import compiled, largest, native, units
from truenorth.optim.draws import BLOCK, key_of
from truenorth.optim.hfac import HFac
from truenorth.optim.kernels import require_compiler
from truenorth.optim.largest import Largest
from truenorth.optim.merging import Merged
from truenorth.optim.movement import ADAM, RMSPROP, Given, OfAdam, OfRMSprop, begin
from truenorth.optim.native_merge import NativeMerge
from truenorth.optim.passes import ByOperations, InC
from truenorth.optim.task_vector import held
from truenorth.optim.tensor_merge import TensorMerge
from truenorth.optim.update import SGDM, AdamW, RMSprop, refuse_without_kernels

CPU, ULP = torch.device("cpu"), 2**-23
SHAPES = {"wide": (700, 450), "parts": (64, 64), "odd": (33, 7), "cube": (8, 3, 5), "column": (5, 1), "bias": (7,)}
DRAWN = [
    OnDARE(alpha=1e-3, keep=0.3),
    OnDARE(alpha=1e-3, keep=0.02),
    OnDARE(alpha=1e-3, keep=0.02, task_mask="fresh", stored="bfloat16"),
    OnDARE(alpha=0, keep=0.04),
    OnDARE(alpha=0, keep=0.4),
    OnDARE(alpha=1e-3, keep=0.3, task_mask="fresh", stored="bfloat16"),
    OnDARE(alpha=1e-3, keep=1, every=2),
    OnDARE(alpha=1e-3, keep=0.02, every=2),
]
LARGEST = [
    OnTIES(alpha=1e-3, keep=0.3),
    OnTIES(alpha=1e-3, keep=0.3, vote="weighted", stored="bfloat16"),
    OnTIES(alpha=1e-3, keep=0.02),
    OnTIES(alpha=0.5, keep=0.02, vote="weighted", stored="bfloat16"),
    OnTIES(alpha=0, keep=0.3),
    OnTIES(alpha=0, keep=0.03),
    OnTIES(alpha=1e-3, keep=1),
]
INNER = [AdamW(learning_rate=1e-3, weight_decay=0.1), RMSprop(learning_rate=1e-3), SGDM(learning_rate=1e-3)]


def is_missing():
    try:
        require_compiler("update.compile", CPU)
    except SettingsError:
        return True
    return False


needs_compiler = pytest.mark.skipif(is_missing(), reason="no C compiler")


def named_rule(rule):
    return "-".join(map(str, (rule.kind, *rule.model_dump(exclude_defaults=True, exclude={"base"}).values())))


def trained(update, steps=4, seed=0):
    """Parameters after some steps."""
    draw = torch.Generator().manual_seed(seed)
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


def assert_the_same_but_for_rounding(update):
    found, expected = trained(update.replace(compile=True)), trained(update)
    step = update.learning_rate * (1.0 if update.merging is None else max(update.merging.shares))
    for name in expected:
        # Each step is rounded to a weight's neighbours, perhaps to the other one, and is itself right to some ulps.
        assert_close(found[name], expected[name], rtol=4 * ULP, atol=1e-5 * step, msg=name)


@needs_compiler
@pytest.mark.parametrize("small", [0, units.SMALL], ids=["alone", "together"])
@pytest.mark.parametrize("inner", INNER, ids=lambda u: u.kind)
@pytest.mark.parametrize("rule", DRAWN, ids=named_rule)
def test_a_step_in_c_is_that_of_operations(inner, rule, small, monkeypatch):
    monkeypatch.setattr(units, "SMALL", small)
    assert_the_same_but_for_rounding(inner.replace(merging=rule))


@needs_compiler
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_so_is_one_of_factored_moments(decay):
    assert_the_same_but_for_rounding(HFac(learning_rate=1e-3, weight_decay=decay))


@needs_compiler
@pytest.mark.parametrize("rule", LARGEST, ids=named_rule)
def test_so_is_an_election_over_a_difference_of_weights(rule):
    assert_the_same_but_for_rounding(SGDM(learning_rate=1e-3, merging=rule))


def merged(kind, rule, span, *, movement, task, start, cut=None):
    part = slice(span.start, span.stop)
    weights = start[part].clone()
    own_task = task[part].clone()
    merge = kind(rule, span, held(rule, own_task, span, key_of("task")))
    merge(weights, Given(movement[part].clone()), key_of("merge"), cut)
    return weights


# Of movements by AdamW the largest may be others, where some differ by their rounding alone.
@needs_compiler
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rule", LARGEST, ids=named_rule)
def test_an_election_is_that_of_operations(rule, tied):
    n, draw = BLOCK + 3001, torch.Generator().manual_seed(0)
    start, movement, task = (torch.randn(n, generator=draw) for _ in range(3))
    movement = (movement * 8).round() if tied else movement
    parts = {"movement": movement, "task": task, "start": start}
    found, expected = (merged(kind, rule, range(n), **parts) for kind in (NativeMerge, TensorMerge))
    assert_close(found, expected, rtol=4 * ULP, atol=ULP)
    assert torch.equal(found != start, expected != start)


@needs_compiler
@pytest.mark.parametrize("keep", [0.03, 0.3])
def test_the_count_is_exact(keep):
    rule, n = OnTIES(alpha=0, keep=keep), 50_001
    movement = torch.randn(n, generator=torch.Generator().manual_seed(0)).mul_(8).round()  # many are equal
    merge, weights = NativeMerge(rule, range(n), held(rule, torch.ones(n), range(n), 0)), torch.zeros(n)
    merge(weights, Given(movement.abs()), 0)
    assert int((weights != 0).sum()) == round(n * keep)
    least = movement.abs()[weights != 0].min()
    assert bool((movement.abs()[weights == 0] <= least).all())


@needs_compiler
@pytest.mark.parametrize("inner", INNER[:2], ids=lambda u: u.kind)
@pytest.mark.parametrize("keep", [0.02, 0.3])
def test_moments_move_whatever_is_kept(inner, keep):
    draw = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(3000, 100, generator=draw)) for _ in range(2)]
    parameters[1].data.copy_(parameters[0].data)
    plain, inside = (inner.build([p]) for p in parameters)
    rule, task = OnDARE(alpha=1e-3, keep=keep), {"w": torch.zeros(3000, 100)}
    ours = Merged(inside, rule, task, {"w": parameters[1]}, seed=0, by_kernels=True)
    for _ in range(3):
        parameters[0].grad = parameters[1].grad = torch.randn(3000, 100, generator=draw)
        plain.step()
        ours.step()
    assert plain.state[parameters[0]]["step"] == inside.state[parameters[1]]["step"] == 3
    for name in ("exp_avg", "exp_avg_sq", "square_avg"):
        if name in plain.state[parameters[0]]:
            assert_close(inside.state[parameters[1]][name], plain.state[parameters[0]][name], rtol=8 * ULP, atol=1e-7)


@pytest.mark.parametrize(("inner", "of", "averages"), [(INNER[0], OfAdam, ADAM), (INNER[1], OfRMSprop, RMSPROP)])
def test_what_several_tensors_move_by_is_written_once(inner, of, averages, monkeypatch):
    monkeypatch.setattr(native, "filled", lambda *_: pytest.fail("copied onto itself"))
    parameters, found = [torch.nn.Parameter(torch.ones(n)) for n in (5, 3)], list[torch.Tensor]()
    for way in ("at", "filled"):
        optimizer = inner.build(parameters)
        for parameter in parameters:
            parameter.grad = torch.arange(1.0, 1 + len(parameter))
            begin(optimizer.state[parameter], parameter, *averages, on_device=False)
            optimizer.state[parameter]["step"] += 1
        states = [optimizer.state[parameter] for parameter in parameters]
        moved = of(parameters, states, optimizer.param_groups[0], torch.zeros(8))
        found.append(moved.at(slice(0, 8)) if way == "at" else moved.filled())
    assert bool((found[0] < 0).all())
    assert torch.equal(*found)


@needs_compiler
def test_a_step_that_an_error_ended_is_not_taken_later():
    parameter, gone = torch.nn.Parameter(torch.zeros(10)), torch.zeros(10)
    rule, task = OnDARE(alpha=1e-3, keep=0.02), {"w": torch.zeros(10)}
    ours = Merged(INNER[0].build([parameter]), rule, task, {"w": parameter}, seed=0, by_kernels=True)
    everywhere = native.Some.of(torch.arange(10), share=1.0)
    ours._later.add(Given(torch.ones(10)).native(slice(0, 10)), gone, everywhere, native.Some.of(), gone[:0])
    parameter.grad = torch.ones(10)
    ours.step()
    assert not gone.any()


@needs_compiler
@pytest.mark.parametrize("rule", [*DRAWN[:3], *LARGEST[:3]], ids=named_rule)
def test_shards_move_as_the_whole(rule):
    n, cut, draw = 2 * BLOCK + 1000, BLOCK + 17, torch.Generator().manual_seed(0)
    parts = dict(zip(("movement", "task", "start"), (torch.randn(n, generator=draw) for _ in range(3)), strict=True))
    largest_of = (rule.selection == "largest" and Largest().cut(parts["movement"], round(n * rule.keep))) or None

    def moved(span):
        if rule.selection == "largest":
            parts["task"] = torch.zeros(n)  # of which each shard alone would keep others
        return merged(NativeMerge, rule, span, **parts, cut=largest_of and replace(largest_of))

    whole = moved(range(n))
    assert torch.equal(torch.cat([moved(range(cut)), moved(range(cut, n))]), whole)


@needs_compiler
@pytest.mark.parametrize("update", [HFac(), INNER[0].replace(merging=DRAWN[1]), INNER[0].replace(merging=LARGEST[2])])
def test_threads_change_no_bit(update):
    update, before = update.replace(compile=True), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = trained(update)
        torch.set_num_threads(3)
        three = trained(update)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one[name], three[name]) for name in one)


@needs_compiler
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 3), (129, 65), (8193, 2), (20_000, 7)])
def test_sums_are_those_of_the_matrix(shape):
    draw = torch.Generator().manual_seed(0)
    gradient, by_row, by_column = (torch.randn(s, generator=draw) for s in (shape, shape[:1], shape[1:]))
    exact = gradient.double()
    rows, columns = InC().sums(gradient, 1e-3)
    assert_close(rows[0], exact.mean(1).float(), rtol=1e-5, atol=1e-6)
    assert_close(rows[1], (exact**2 + 1e-3).sum(1).float(), rtol=1e-5, atol=0)
    assert_close(columns[0], exact.sum(0).float(), rtol=1e-5, atol=1e-4)
    assert_close(columns[1], (exact**2 + 1e-3).sum(0).float(), rtol=1e-5, atol=0)
    squares = (exact * by_row[:, None] * by_column).square().sum().float()
    assert_close(InC().squares(gradient, by_row, by_column), squares, rtol=1e-6, atol=0)


@needs_compiler
@pytest.mark.parametrize("m", [8192, 8193, 8255, 8256])
def test_sums_write_to_no_more_than_their_spare_memory(m, monkeypatch):
    n = 2
    spare = torch.zeros(2 * n * native.PARTS + 1000)
    monkeypatch.setattr(native, "_spare", lambda *_: spare)
    native.sums(torch.ones(m, n), 0.0)
    assert not spare[2 * n * native.PARTS :].any()


@needs_compiler
def test_a_matrix_that_lies_otherwise_moves_too():
    draw = torch.Generator().manual_seed(0)
    weights, gradient = (torch.randn(6, 4, generator=draw).T for _ in range(2))
    rows, columns = ((torch.rand(n, generator=draw), torch.rand(n, generator=draw)) for n in (4, 6))
    expected = weights.clone()
    ByOperations().move(expected, gradient, rows, columns, 0.1)
    InC().move(weights, gradient, rows, columns, 0.1)
    assert_close(weights, expected, rtol=4 * ULP, atol=ULP)
    for found, right in zip(InC().sums(gradient, 0.1), ByOperations().sums(gradient, 0.1), strict=True):
        assert_close(found, right, rtol=8 * ULP, atol=8 * ULP)


@needs_compiler
@pytest.mark.parametrize("n", [1, 1000, 3 * native.PART + 77])
def test_what_lies_between_two_magnitudes_is_found_in_order(n):
    values = torch.randn(n, generator=torch.Generator().manual_seed(0))
    for low, high in ((0.5, 0.6), (0.0, float("inf")), (9.0, 10.0), (0.5, 0.5)):
        above, near = native.between(values, low, high)
        expected, right = largest.between(values, low, high)
        assert above == expected
        assert torch.equal(near, right)


@needs_compiler
def test_the_first_equal_ones_end_where_they_do():
    values = torch.tensor([1.0, -2.0, 2.0, 0.0] * 2000)
    assert [native.behind(values, 2.0, count) for count in (1, 2, 3, 4000)] == [2, 3, 6, 7999]


@pytest.fixture
def _nothing_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUENORTH_CACHE", str(tmp_path / "cache"))
    compiled.library.cache_clear()
    yield
    compiled.library.cache_clear()


def script(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.usefixtures("_nothing_compiled")
@pytest.mark.parametrize("body", [None, 'echo "k.c: error: no such thing" >&2; exit 1'], ids=["missing", "failing"])
def test_a_compiler_that_is_missing_or_fails_is_named(body, tmp_path, monkeypatch):
    name = str(tmp_path / "nowhere") if body is None else script(tmp_path / "cc", body)
    monkeypatch.setenv("CC", name)
    with pytest.raises(SettingsError, match=f"{name}.*Install a C compiler.*leave update.compile out"):
        require_compiler("update.compile", CPU)
    assert not list((tmp_path / "cache").rglob("*.so"))


@needs_compiler
@pytest.mark.usefixtures("_nothing_compiled")
def test_a_compiler_that_knows_neither_this_processor_nor_threads_will_do(tmp_path, monkeypatch):
    refused = 'for a in "$@"; do case $a in -march=native|-fopenmp) exit 1;; esac; done; exec cc "$@"'
    monkeypatch.setenv("CC", script(tmp_path / "old", refused))
    assert compiled.library().steps_few is not None
    (made,) = (tmp_path / "cache" / "compiled").iterdir()  # and no half of one
    monkeypatch.setenv("CC", f"{shutil.which('cc')} -O2")  # other words, another file
    compiled.library.cache_clear()
    compiled.library()
    assert len(set((tmp_path / "cache" / "compiled").iterdir()) - {made}) == 1


@needs_compiler
@pytest.mark.usefixtures("_nothing_compiled")
def test_what_all_may_write_to_is_not_loaded(tmp_path):
    before = os.umask(0)  # under which a linker lets all write
    try:
        compiled.library()
    finally:
        os.umask(before)
    (made,) = (tmp_path / "cache" / "compiled").iterdir()
    made.chmod(0o777)
    compiled.library.cache_clear()
    with pytest.raises(SettingsError, match=r"all may write to it.*TRUENORTH_CACHE"):
        compiled.library()


def test_what_cannot_be_compiled_is_refused():
    with pytest.raises(SettingsError, match="nothing to compile"):
        AdamW(compile=True)
    with pytest.raises(SettingsError, match="onties are compiled on a CPU alone"):
        refuse_without_kernels(AdamW(compile=True, merging=OnTIES()), torch.device("cuda"))
    refuse_without_kernels(AdamW(compile=True, merging=OnDARE()), torch.device("cuda"))
    refuse_without_kernels(AdamW(compile=True, merging=OnTIES()), CPU)
    assert HFac(compile=True).compile


@needs_compiler
@pytest.mark.usefixtures("_nothing_compiled")
def test_a_library_that_does_not_load_is_compiled_anew(tmp_path):
    compiled.library()
    (made,) = (tmp_path / "cache" / "compiled").iterdir()
    made.unlink()  # the loaded one stays as it is
    made.write_bytes(b"of another system")
    made.chmod(0o755)
    compiled.library.cache_clear()
    assert compiled.library().steps_few is not None
