"""Merging while training: laws of the rules, of rounding, and of what is drawn."""

import copy
import math

import pytest
import torch

from truenorth.errors import SettingsError
from truenorth.methods.online_merging import OnDARE, OnTIES
from truenorth.optim import merging, units
from truenorth.optim.draws import BLOCK, REACH, key_of, mask, noise, places, three
from truenorth.optim.hfac import HFac
from truenorth.optim.merging import Merged
from truenorth.optim.movement import Given
from truenorth.optim.rounding import add, nearly_zero
from truenorth.optim.task_vector import SPARSE, held
from truenorth.optim.tensor_merge import TensorMerge
from truenorth.optim.update import AdamW, RMSprop, TorchOptimizer

SHAPES = {"wide": (40, 30), "bias": (7,), "one": (1,)}
INNER = [
    AdamW(learning_rate=1e-2, weight_decay=0.1),
    RMSprop(learning_rate=1e-2),
    HFac(learning_rate=1e-2),
    TorchOptimizer(learning_rate=1e-2, optimizer="torch.optim:SGD", arguments={"momentum": 0.9}),
]
every_inner = pytest.mark.parametrize("inner", INNER, ids=lambda u: u.kind)


def weights(seed=0, shapes=SHAPES, size=0.5):
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.nn.Parameter(size * torch.randn(shape, generator=draw)) for name, shape in shapes.items()}


def vectors(seed=1, shapes=SHAPES, size=1e-2):
    return {name: p.detach() for name, p in weights(seed, shapes, size).items()}


def optimizer_of(inner, rule, named, task=None, seed=0):
    built = inner.build(named.values())
    task = vectors() if task is None else task
    return built if rule is None else Merged(built, rule, {n: t.clone() for n, t in task.items()}, named, seed=seed)


def gradients(named, step):
    draw = torch.Generator().manual_seed(1000 + step)
    for parameter in named.values():
        parameter.grad = torch.randn(parameter.shape, generator=draw)


def run(inner, rule, steps=5, *, named=None, task=None, seed=0):
    named = weights() if named is None else named
    optimizer = optimizer_of(inner, rule, named, task, seed)
    for step in range(steps):
        gradients(named, step)
        optimizer.step()
    return {name: parameter.detach() for name, parameter in named.items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def step_of(rule, movement, task, *, start=None, key=0, span=None):
    """What one merge moves weights by, which start at zero, where nothing is rounded."""
    found = torch.zeros_like(movement) if start is None else start.clone()
    span = range(len(movement)) if span is None else span
    TensorMerge(rule, span, held(rule, task.clone(), span, key_of(key)))(
        found, Given(movement.clone()), key_of(key, "merge")
    )
    return found


# Reductions


@every_inner
@pytest.mark.parametrize("every", [1, 3])
def test_without_a_pull_and_with_all_kept_it_is_the_inner_optimizer_to_the_bit(inner, every):
    for rule in (OnDARE(alpha=0, keep=1, every=every), OnTIES(alpha=0, keep=1, every=every, vote="weighted")):
        assert same(run(inner, rule), run(inner, None))


@every_inner
@pytest.mark.parametrize("every", [1, 3])
def test_the_same_through_the_merge_but_for_rounding(inner, every):
    # alpha is 0 but for a hair, so nothing is by-passed: movements are taken, summed up and put back.
    tiny = OnDARE(alpha=1e-30, keep=1, every=every)
    merged, plain = run(inner, tiny, steps=6), run(inner, None, steps=6)
    for name in plain:
        torch.testing.assert_close(merged[name], plain[name], rtol=1e-5, atol=1e-6)


@every_inner
def test_a_pull_alone_drifts_by_the_task_vector_whatever_the_gradients(inner):
    inner = inner if inner.kind != "adamw" else inner.replace(weight_decay=0.0)
    steps, start, task = 5, weights(), vectors()
    found = run(inner, OnDARE(alpha=1, keep=1), steps=steps)
    for name, parameter in start.items():
        # Rounded by chance, so each step may be off by the distance to the next number.
        torch.testing.assert_close(found[name], parameter.detach() + steps * task[name], rtol=0, atol=steps * 2**-22)


@pytest.mark.parametrize("rule", [OnDARE(alpha=0.3, keep=0.4), OnTIES(alpha=0.3, keep=1)], ids=lambda r: r.kind)
def test_adam_s_movement_from_its_moments_is_the_weights_minus_a_copy(rule, monkeypatch):
    fast = run(INNER[0], rule)
    monkeypatch.setattr(merging, "moments_alone", lambda *_: False)
    slow = run(INNER[0], rule)
    for name in fast:
        off = ((fast[name] - slow[name]).abs() > 1e-5).float().mean()
        assert off == 0, name


def test_a_subclass_of_adamw_steps_as_it_likes():
    class Standing(torch.optim.AdamW):
        def step(self, closure=None):
            return closure and closure()  # nothing moves

    named = weights()
    optimizer = Merged(Standing(named.values()), OnDARE(alpha=1e-30, keep=1), vectors(), named, seed=0)
    gradients(named, 0)
    optimizer.step()
    assert not merging.is_adam(optimizer.inner)
    assert same({name: p.detach() for name, p in named.items()}, weights())


def test_steps_between_merges_are_the_inner_optimizer_s_and_reach_all_parameters():
    rule = OnDARE(alpha=0.5, keep=0.5, every=4)
    assert same(run(INNER[0], rule, steps=3), run(INNER[0].replace(weight_decay=0.1), None, steps=3))


@every_inner
def test_after_k_steps_weights_are_those_before_plus_the_merged_sum_of_steps(inner):
    inner = inner if inner.kind != "adamw" else inner.replace(weight_decay=0.0)
    rule = OnDARE(alpha=0.5, keep=1, every=3)
    found, plain = run(inner, rule, steps=3), run(inner, None, steps=3)
    for name, start in weights().items():
        expected = start.detach() + 0.5 * (plain[name] - start.detach()) + 0.5 * vectors()[name]
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-6)


def test_weight_decay_reaches_all_weights_and_is_not_thinned_out():
    inner = AdamW(learning_rate=0.1, weight_decay=0.5)
    for every in (1, 2):
        named = weights()
        optimizer = optimizer_of(inner, OnDARE(alpha=1, keep=1, every=every), named, vectors(size=0.0))
        for step in range(2):
            gradients(named, step)
            optimizer.step()
        for name, start in weights().items():
            torch.testing.assert_close(named[name].detach(), start.detach() * 0.95**2, rtol=1e-6, atol=1e-7)


# What is kept


@pytest.mark.parametrize("keep", [0.02, 0.3])
@pytest.mark.parametrize("rescale", ["inverse", "none"])
@pytest.mark.parametrize("task_mask", ["fixed", "fresh"])
def test_the_mean_over_draws_is_the_step_and_the_pull_or_their_kept_share(keep, rescale, task_mask):
    alpha, n, draws = 0.25, 2000, 400
    rule = OnDARE(alpha=alpha, keep=keep, rescale=rescale, task_mask=task_mask)
    movement, task = torch.ones(n), torch.full((n,), -2.0)
    total = sum(step_of(rule, movement, task, key=key) for key in range(draws))
    expected = ((1 - alpha) - 2 * alpha) * (1 if rescale == "inverse" else keep)
    scale = 1 / keep if rescale == "inverse" else 1
    spread = scale * math.sqrt(keep * (1 - keep) * ((1 - alpha) ** 2 + (2 * alpha) ** 2) / (n * draws))
    assert abs(float((total / draws).mean()) - expected) < 5 * spread


@pytest.mark.parametrize("keep", [0.02, 0.3])
def test_a_fixed_draw_pulls_at_the_same_entries_and_a_fresh_one_at_others(keep):
    # OnDARE at alpha 1 moves by the pull alone.
    for task_mask in ("fixed", "fresh"):
        rule, task, span = OnDARE(alpha=1, keep=keep, task_mask=task_mask), torch.ones(5000), range(5000)
        merge, pulled = TensorMerge(rule, span, held(rule, task, span, key_of("task"))), []
        for key in range(2):
            found = torch.zeros(5000)
            merge(found, Given(torch.zeros(5000)), key_of(key))
            pulled.append(found != 0)
        assert torch.equal(*pulled) is (task_mask == "fixed")
        assert pulled[0].float().mean() == pytest.approx(keep, rel=0.5)


@pytest.mark.gpu
@pytest.mark.parametrize("keep", [0.02, 0.3])
def test_on_a_gpu_the_law_is_the_same_and_so_are_the_draws(keep):
    n, draw = 100_000, torch.Generator().manual_seed(0)
    start, movement, task = (torch.randn(n, generator=draw) for _ in range(3))
    for rule in (OnDARE(alpha=0.25, keep=keep), OnDARE(alpha=0.25, keep=keep, task_mask="fresh"), OnTIES(keep=keep)):
        there = [step_of(rule, movement.cuda(), task.cuda(), start=start.cuda()) for _ in range(2)]
        assert torch.equal(*there)
        torch.testing.assert_close(there[0].cpu(), step_of(rule, movement, task, start=start), rtol=1e-6, atol=1e-5)
    total = sum(step_of(OnDARE(alpha=0.25, keep=keep), movement.cuda(), task.cuda(), key=key) for key in range(100))
    expected = (0.75 * movement + 0.25 * task).cuda()
    spread = math.sqrt((1 - keep) / keep * (0.75**2 + 0.25**2) / (n * 100))
    assert abs(float((total / 100 - expected).mean())) < 5 * spread


@pytest.mark.gpu
@every_inner
def test_an_optimizer_on_a_gpu_merges_as_on_a_cpu(inner):
    for rule in (OnDARE(alpha=1e-2, keep=0.3), OnDARE(alpha=1e-2, keep=0.02, every=2)):
        there = {name: torch.nn.Parameter(p.detach().cuda()) for name, p in weights().items()}
        task = {name: t.cuda() for name, t in vectors().items()}
        optimizer = optimizer_of(inner, rule, there, task)
        for step in range(4):
            gradients(here := weights(), step)
            for name, p in there.items():
                p.grad = here[name].grad.cuda()
            optimizer.step()
        for name, expected in run(inner, rule, steps=4).items():
            torch.testing.assert_close(there[name].detach().cpu(), expected, rtol=1e-5, atol=1e-5)


def test_without_a_task_vector_only_the_step_is_left():
    movement = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(1000)
    found = step_of(OnDARE(alpha=0.25, keep=0.3, rescale="none"), movement, nothing)
    kept = found != 0
    assert 200 < kept.sum() < 400
    torch.testing.assert_close(found[kept], 0.75 * movement[kept])
    for vote in ("weighted", "unweighted"):
        largest = step_of(OnTIES(alpha=0.25, keep=0.3, vote=vote), movement, nothing)
        top = movement.abs().topk(300).indices
        torch.testing.assert_close(largest[top], 0.75 * movement[top])
        assert (largest != 0).sum() == 300


def test_with_all_kept_each_entry_moves_by_both_or_by_one():
    alpha, draw = 0.3, torch.Generator().manual_seed(0)
    movement, task = (torch.randn(1000, generator=draw) for _ in range(2))
    step, pull = (1 - alpha) * movement, alpha * task
    for vote, elected in (("weighted", step + pull), ("unweighted", movement + task)):
        found = step_of(OnTIES(alpha=alpha, keep=1, vote=vote), movement, task)
        expected = step * (step.sign() == elected.sign()) + pull * (pull.sign() == elected.sign())
        torch.testing.assert_close(found, expected)
        assert len({bool(x) for x in (found == expected)}) >= 1


def test_a_large_task_vector_outvotes_the_step_only_unweighted():
    movement, task = torch.full((4,), -1e-6), torch.full((4,), 1e-3)
    weighted, unweighted = (
        step_of(OnTIES(alpha=1e-7, keep=1, vote=v), movement, task) for v in ("weighted", "unweighted")
    )
    torch.testing.assert_close(weighted, (1 - 1e-7) * movement, rtol=1e-6, atol=0)
    torch.testing.assert_close(unweighted, 1e-7 * task, rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [1, 10, 30])
def test_a_tensor_with_few_entries_is_thinned_out_too(size):
    # The released OnTIES keeps all of it.
    movement = torch.arange(1.0, size + 1)
    found = step_of(OnTIES(alpha=0, keep=0.01), movement, torch.zeros(size))
    assert (found != 0).sum() == 1
    assert found[-1] != 0


def test_of_equal_magnitudes_no_more_are_kept_than_asked():
    # Adam's first step is as large everywhere.
    found = step_of(OnTIES(alpha=0, keep=0.01), torch.ones(10_000), torch.zeros(10_000))
    assert (found != 0).sum() == 100


# Rounding


def test_a_pull_far_below_the_weights_precision_arrives():
    n, steps, alpha = 200_000, 50, 1e-7
    draw = torch.Generator().manual_seed(0)
    start, task = 0.02 * torch.randn(n, generator=draw), 1e-3 * torch.ones(n)
    rule, plain, merged, span = OnDARE(alpha=alpha, keep=1), start.clone(), start.clone(), range(n)
    merge = TensorMerge(rule, span, held(rule, task.clone(), span, 0))
    for step in range(steps):
        plain.add_(task, alpha=alpha)
        merge(merged, Given(torch.zeros(n)), key_of(step))
    expected = steps * alpha * 1e-3
    spread = math.sqrt(steps / 12 / n) * 2e-9 * 3  # of roundings, for weights of this size
    assert abs(float((merged.double() - start.double()).mean()) - expected) < 5 * spread
    assert float((plain.double() - start.double()).mean()) < 0.7 * expected  # added as it is, it is lost


@pytest.mark.parametrize("weight", [1.0, -1.0, 0.75, -0.75, 2.0**-20, 0.0])
@pytest.mark.parametrize("pull", [0.1, -0.1])
def test_rounding_by_chance_is_right_on_average_also_at_powers_of_two(weight, pull):
    n, weight = 400_000, torch.tensor(weight)
    step = float(torch.nextafter(weight.abs(), torch.tensor(torch.inf)) - weight.abs()) if weight else 1e-6
    found, by = weight.repeat(n), torch.full((n,), pull * step)
    chance = torch.rand(n, generator=torch.Generator().manual_seed(0)) - 0.5
    add(found, by, chance, nearly_zero(found.device))
    moved = float((found.double() - weight.double()).mean()) / step
    assert moved == pytest.approx(pull, abs=5 * math.sqrt(0.25 / n))


def test_where_nothing_is_added_nothing_is_rounded():
    found = torch.cat([torch.randn(100_000), torch.tensor([1.0, -1.0, 0.0, -0.0, 2.0**-126]).repeat(20_000)])
    before = found.clone()
    chance = torch.rand(len(found)) * 0.99998 - 0.49999
    add(found, torch.zeros_like(found), chance, nearly_zero(found.device))
    assert torch.equal(found, before)


# What is drawn, and where


RULES = [
    OnDARE(alpha=1e-3, keep=0.02),
    OnDARE(alpha=1e-3, keep=0.02, task_mask="fresh"),
    OnDARE(alpha=1e-3, keep=0.3),
    OnDARE(alpha=1e-3, keep=0.3, task_mask="fresh"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.keep}-{r.task_mask}")
@pytest.mark.parametrize("cut", [1, BLOCK - 3, BLOCK, BLOCK + 17])
def test_shards_move_as_the_whole(rule, cut):
    n, draw = BLOCK + 1000, torch.Generator().manual_seed(0)
    start, movement, task = (torch.randn(n, generator=draw) for _ in range(3))
    whole = step_of(rule, movement, task, start=start)
    for part in (slice(0, cut), slice(cut, n)):
        span = range(n)[part]
        shard = step_of(rule, movement[part], task[part], start=start[part], span=span)
        assert torch.equal(shard, whole[part])


def test_draws_differ_by_seed_name_and_merge_and_by_nothing_else():
    rule = OnDARE(alpha=1e-3, keep=0.3)
    first = run(INNER[0], rule, seed=1)
    assert same(first, run(INNER[0], rule, seed=1))
    torch.rand(3)  # the global generator has no part in it
    assert same(first, run(INNER[0], rule, seed=1))
    assert not same(first, run(INNER[0], rule, seed=2))
    n = 10_000
    shapes = {"a": (n,), "b": (n,)}
    alike = {name: torch.nn.Parameter(torch.zeros(n)) for name in shapes}
    optimizer = optimizer_of(AdamW(), rule, alike, {name: torch.zeros(n) for name in shapes})
    kept = []
    for _ in range(2):
        before = {name: p.detach().clone() for name, p in alike.items()}
        for parameter in alike.values():
            parameter.grad = torch.ones(n)
        optimizer.step()
        kept += [alike[name].detach() != before[name] for name in shapes]
    assert len({tuple(mask.tolist()) for mask in kept}) == 4


@pytest.mark.parametrize("share", [1e-5, 0.01, SPARSE])
def test_kept_places_are_as_many_as_asked_each_once_and_in_order(share):
    span = range(3 * BLOCK + 5)
    found = torch.cat([kept.within.start + kept.places for kept in places(0, span, share, torch.device("cpu"))])
    assert torch.equal(found, found.unique())
    mean = share * len(span)
    assert abs(len(found) - mean) < 6 * math.sqrt(mean)
    assert 0.45 < float(found.double().mean()) / len(span) < 0.55 or share < 1e-3


@pytest.mark.parametrize("share", [1e-4, 0.01, SPARSE])
def test_each_place_is_kept_as_often_as_asked_and_two_of_them_independently(share):
    # Over all starts of a circle of places; the second entry may lie anywhere.
    span = range(REACH)
    kept = torch.zeros(REACH, dtype=torch.bool)
    for piece in places(0, span, share, torch.device("cpu")):
        kept[piece.within][piece.places] = True
    assert kept.double().mean() == pytest.approx(share, abs=0.5 / REACH)
    bound = 6 / math.sqrt(REACH)
    for apart in (1, 7, 1024, 99_999):
        both = float((kept & kept.roll(apart)).double().mean())
        assert abs(both - share**2) / (share * (1 - share)) < bound


def test_masks_and_noise_are_exact_over_all_starts_and_nearly_independent_at_two_places():
    like, at = torch.empty(0), slice(5, 6)
    starts = range(0, 2**18, 64)
    drawn = torch.cat([noise(start, 0, slice(0, 64), like) for start in starts])
    assert torch.equal(drawn.sort().values, (torch.arange(2**18) + 0.5) / 2**18 - 0.5)
    kept = torch.cat([mask(start, 0, slice(0, 64), like, share=0.3) for start in starts])
    assert kept.mean().item() == pytest.approx(0.3, abs=2**-18)
    for values in (drawn, kept):
        values = values.double() - values.double().mean()
        for apart in (1, 64, 1000, 2**17):
            assert abs(float((values * values.roll(apart)).mean() / values.square().mean())) < 6 / 2**9
    assert noise(key_of(1), 0, at, like) != noise(key_of(2), 0, at, like)


def test_three_keys_of_one_are_told_apart():
    assert len({key for number in range(100) for key in three(key_of(number))}) == 300


# Tensors that are merged together


@every_inner
@pytest.mark.parametrize("keep", [0.02, 0.5, 1])
def test_a_tensor_without_a_gradient_stays_where_it_is_and_the_others_move(inner, keep):
    for small in (0, units.SMALL):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(units, "SMALL", small)
            named = weights()
            optimizer = optimizer_of(inner, OnDARE(alpha=0.5, keep=keep), named)
            for step in range(3):
                gradients(named, step)
                named["bias"].grad = None
                optimizer.step()
        start = weights()
        assert torch.equal(named["bias"], start["bias"])
        assert not torch.equal(named["wide"], start["wide"])


@every_inner
def test_large_tensors_move_as_small_ones_but_for_rounding(inner, monkeypatch):
    rule = OnDARE(alpha=0.3, keep=1)
    together = run(inner, rule)
    monkeypatch.setattr(units, "SMALL", 0)
    alone = run(inner, rule)
    for name in alone:
        torch.testing.assert_close(alone[name], together[name], rtol=1e-5, atol=1e-6)


def test_kept_entries_of_large_tensors_take_adam_s_step(monkeypatch):
    monkeypatch.setattr(units, "SMALL", 0)
    inner, rule = AdamW(learning_rate=1e-2), OnDARE(alpha=0, keep=0.04)
    start, plain, merged = weights(), run(inner, None, steps=1), run(inner, rule, steps=1)
    moved = merged["wide"] != start["wide"]
    assert 10 < moved.sum() < 120
    step = (plain["wide"] - start["wide"]).detach() / 0.04
    torch.testing.assert_close((merged["wide"] - start["wide"]).detach()[moved], step[moved], rtol=1e-4, atol=1e-6)


# Going on


@every_inner
@pytest.mark.parametrize("stop", [1, 3, 5])
@pytest.mark.parametrize(
    "rule",
    [
        OnDARE(alpha=0.1, keep=0.02),
        OnDARE(alpha=0.1, keep=0.4, every=3),
        OnTIES(alpha=0.1, keep=0.2, every=2),
        OnTIES(alpha=0.1, keep=0.02),
    ],
    ids=lambda r: f"{r.kind}-{r.keep}-{r.every}",
)
def test_a_resumed_optimizer_gives_the_same_bits(inner, rule, stop):
    named = weights()
    optimizer = optimizer_of(inner, rule, named)
    for step in range(7):
        if step == stop:
            saved = copy.deepcopy(optimizer.state_dict())
            named = {name: torch.nn.Parameter(p.detach().clone()) for name, p in named.items()}
            optimizer = optimizer_of(inner, rule, named)
            optimizer.load_state_dict(saved)
        gradients(named, step)
        optimizer.step()
    assert same({n: p.detach() for n, p in named.items()}, run(inner, rule, steps=7))


@pytest.mark.parametrize("by_kernels", [False, True])
def test_weights_that_are_not_float32_are_refused(by_kernels):
    named = {"half": torch.nn.Parameter(torch.zeros(4, 3, dtype=torch.bfloat16))}
    inner, task = AdamW().build(named.values()), {"half": torch.zeros(12)}
    with pytest.raises(SettingsError, match=r"one here is bfloat16.*Load the model in float32"):
        Merged(inner, OnDARE(), task, named, seed=0, by_kernels=by_kernels)


def test_a_group_that_is_added_later_is_stepped_and_not_merged():
    inner, beside = INNER[0], torch.nn.Parameter(torch.ones(5))
    optimizer = optimizer_of(inner, OnDARE(alpha=0.5, keep=0.1), named := weights())
    optimizer.add_param_group({"params": [beside]})
    alone = torch.nn.Parameter(torch.ones(5))
    plain = inner.build([alone])
    for step in range(3):
        gradients(named, step)
        beside.grad = alone.grad = torch.ones(5)
        optimizer.step()
        plain.step()
    assert torch.equal(beside, alone)


def test_the_learning_rate_of_each_step_is_that_of_the_groups():
    named = weights()
    optimizer = optimizer_of(INNER[0], OnDARE(alpha=1e-9, keep=1), named)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    gradients(named, 0)
    optimizer.step()
    for name, start in weights().items():
        torch.testing.assert_close(named[name].detach(), start.detach(), rtol=1e-6, atol=1e-7)
