"""What holds for every method of the table, by its contract alone: gradients, finite numbers, invariances, purity."""

import dataclasses
import itertools
import re

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.drawn import (
    alone,
    declared,
    drawn,
    mapped,
    policy_of,
    sizes,
    swapped,
    taken,
    tensors,
    undeclared,
    with_policy,
)
from truenorth.methods import METHODS, describe, dump, load, recipe

OBJECTIVES = {name: recipe(name).objective for name in METHODS} | {
    "dpo, smoothed": recipe("dpo", label_smoothing=0.1).objective,
    "simpo, no margin": recipe("simpo", gamma_over_beta=0.0).objective,
    "f_divergence_dpo, forward KL": recipe("f_divergence_dpo", alpha=1.0).objective,
    "aps, many temperatures": recipe("aps", beta=1.0).objective,
    "a sum": recipe("dpo + 0.2*simpo").objective,
    "a sum that couples rows": recipe("aot + 0.5*odpo").objective,
}
DETACHED = {
    "wpo",
    "rloo",
    "nash_md",
    "salsa_rl",
}  # holds a part of its loss for constant, so finite differences are taken in its own tests
LOWERS_BOTH = {"apo_down"}  # by intention, see its own tests
INVARIANCES = ("prompt_shift", "permuted_rejected", "reward_shift")
MANY = 64  # responses, where there is no limit

seeds = st.integers(0, 2**31)


def changed(candidates, invariance, *, by, order):
    """`candidates` after what should leave an invariant loss as it is: `by` [B], or the `order` of all responses."""
    match invariance:
        case "prompt_shift":
            shift = (by[:, None] / candidates.policy.length).flatten()[candidates.policy.owner]
            degrees, tokens, *of_roles = policy_of(candidates)
            shifted = with_policy(candidates, [degrees, tokens + shift, *of_roles])
            return dataclasses.replace(shifted, step=alone(shifted))
        case "reward_shift":
            return dataclasses.replace(candidates, rewards=candidates.rewards + by[:, None])
        case "permuted_rejected":
            return taken(candidates, range(len(by)), order)


def has_a_meaning(objective, invariance):
    match invariance:
        case "prompt_shift":
            return objective.candidates[1] != 1
        case "reward_shift":
            return "rewards" in objective.reads | objective.reads_if_given
        case "permuted_rejected":
            return max(sizes(objective)) > 2


def pairs(*, declared):
    return [
        pytest.param(objective, invariance, id=f"{name}-{invariance}")
        for (name, objective), invariance in itertools.product(OBJECTIVES.items(), INVARIANCES)
        if has_a_meaning(objective, invariance) and (invariance in objective.invariances) is declared
    ]


def each(objectives):
    return pytest.mark.parametrize("objective", objectives.values(), ids=objectives)


every_objective = each(OBJECTIVES)
every_method = pytest.mark.parametrize("name", METHODS)


def at_the_start(objective, candidates):
    """`candidates` where each reference is the policy itself, in roles too, without gradients; scores are 0."""

    def same(references, policy):
        return dict.fromkeys(references, mapped(policy, Tensor.detach))

    if objective.score_head is not None:  # the head starts at zero
        zero, length = mapped(candidates.policy, torch.zeros_like), candidates.policy.length
        return dataclasses.replace(candidates, policy=dataclasses.replace(zero, length=length))
    start = dataclasses.replace(
        candidates,
        references=same(candidates.references, candidates.policy),
        roles={
            name: dataclasses.replace(role, references=same(role.references, role.policy))
            for name, role in candidates.roles.items()
        },
        degrees=torch.zeros_like(candidates.degrees),  # their head starts at zero
        token_kl={name: torch.zeros_like(kl) for name, kl in candidates.token_kl.items()},
    )
    return dataclasses.replace(start, step=alone(start))


def extreme(objective, seed, *, k):
    """Candidates in float32 whose log-probs and rewards are -1e4, 0 or 1e4 nats, in responses of one token."""
    candidates, draw = drawn(objective, seed, k=k, prompts=1000, longest=1), torch.Generator().manual_seed(seed)

    def end(like: Tensor) -> Tensor:
        return 1e4 * (torch.randint(3, like.shape, generator=draw) - 1).to(like.dtype)

    def ends(reference):
        total = end(reference.total)
        return dataclasses.replace(reference, total=total, tokens=total.flatten())

    candidates = mapped(candidates, Tensor.float)
    references = {name: ends(reference) for name, reference in candidates.references.items()}
    found = dataclasses.replace(candidates, references=references, rewards=end(candidates.rewards))
    found = with_policy(found, [end(part) for part in policy_of(found)])
    return dataclasses.replace(found, step=alone(found))


def with_gradients(candidates):
    """`candidates`, and what their policy's gradients are taken in."""
    leaves = [part.clone().requires_grad_() for part in policy_of(candidates)]
    return with_policy(candidates, leaves), leaves


@each({name: objective for name, objective in OBJECTIVES.items() if name not in DETACHED})
def test_gradients_agree_with_finite_differences(objective):
    for k in sizes(objective):
        candidates = drawn(objective, seed=1, k=k)

        def loss(*policy, candidates=candidates):
            return objective(with_policy(candidates, policy))

        assert torch.autograd.gradcheck(loss, [part.requires_grad_() for part in policy_of(candidates)])


@every_objective
def test_everything_is_finite_at_ten_thousand_nats(objective):
    for k in {*sizes(objective), objective.candidates[1] or MANY}:
        candidates, leaves = with_gradients(extreme(objective, seed=k, k=k))
        loss = objective(candidates)
        loss.sum().backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss).all()
        assert torch.isfinite(objective.implicit_rewards(candidates)).all()
        assert all(torch.isfinite(leaf.grad).all() for leaf in leaves if leaf.grad is not None)


@pytest.mark.parametrize(("objective", "invariance"), pairs(declared=True))
@settings(max_examples=40)
@given(st.data(), seeds, st.tuples(st.floats(-20, 20), st.floats(-20, 20)))
def test_declared_invariance_holds(objective, invariance, data, seed, by):
    fewest, most = objective.candidates
    k = data.draw(st.integers(fewest, most or 6), label="k")
    order = [0, *data.draw(st.permutations(range(1, k)), label="rejected")]
    candidates = drawn(objective, seed, k=k)
    after = objective(changed(candidates, invariance, by=torch.tensor(by, dtype=torch.float64), order=order))
    torch.testing.assert_close(after, objective(candidates), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("objective", "invariance"), pairs(declared=False))
def test_undeclared_invariance_has_a_counterexample(objective, invariance):
    def moves(k):
        candidates, by = drawn(objective, seed=3, k=k), torch.full((2,), -100.0, dtype=torch.float64)
        order = [0, *reversed(range(1, k))]
        before, after = objective(candidates), objective(changed(candidates, invariance, by=by, order=order))
        return (after - before).abs().max() > 1e-3 * before.abs().max()

    assert any(moves(k) for k in sizes(objective))


@every_objective
def test_invariance_without_a_meaning_is_not_declared(objective):
    assert all(has_a_meaning(objective, invariance) for invariance in objective.invariances)


@every_objective
@settings(max_examples=10)
@given(seeds)
def test_initial_loss_is_the_loss_where_policy_and_references_agree(objective, seed):
    for k in sizes(objective):
        start = at_the_start(objective, drawn(objective, seed, k=k))
        if (expected := objective.initial_loss(start)) is not None:
            torch.testing.assert_close(expected, objective(start))


@every_objective
def test_initial_loss_is_given_by_objectives_with_a_reference_or_a_head_of_scores_only(objective):
    given_by = objective.initial_loss(drawn(objective, seed=5)) is not None
    assert given_by == bool(objective.references or objective.score_head)


@every_objective
def test_loss_is_one_number_per_prompt_and_the_implicit_reward_one_per_response(objective):
    for k in sizes(objective):
        candidates = drawn(objective, seed=7, k=k, prompts=3)
        assert objective(candidates).shape == (3,)
        assert objective.implicit_rewards(candidates).shape == (3, k)


@every_objective
@settings(max_examples=10)
@given(seeds, st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True))
def test_loss_of_a_prompt_does_not_depend_on_the_prompts_beside_it_or_their_order(objective, seed, some):
    # But through what their step says of them all, where it couples rows.
    candidates = drawn(objective, seed, prompts=4)
    torch.testing.assert_close(objective(taken(candidates, some)), objective(candidates)[some], rtol=1e-9, atol=1e-9)


@every_objective
@settings(max_examples=10)
@given(seeds)
def test_what_an_objective_does_not_declare_it_does_not_read(objective, seed):
    candidates = drawn(objective, seed)
    loss, rewards = objective(candidates), objective.implicit_rewards(candidates)
    for change in (lambda tensor: torch.full_like(tensor, torch.nan), None):
        other = undeclared(objective, candidates, change)
        assert torch.equal(objective(other), loss)
        assert torch.equal(objective.implicit_rewards(other), rewards)


@every_objective
def test_what_an_objective_declares_it_reads(objective):
    # Or the data, or the engine, would bring it for nothing.
    candidates = drawn(objective, seed=11, prompts=6)
    for part in declared(objective):
        assert not torch.allclose(objective(swapped(candidates, part)), objective(candidates)), part


@each({name: objective for name, objective in OBJECTIVES.items() if objective.scope == "step"})
def test_an_objective_that_couples_rows_reads_its_step(objective):
    candidates = drawn(objective, seed=11, prompts=6)
    ratios = {name: 2 * ratios.abs() + 1 for name, ratios in candidates.step.log_ratio.items()}
    step = dataclasses.replace(candidates.step, log_ratio=ratios)
    assert not torch.allclose(objective(dataclasses.replace(candidates, step=step)), objective(candidates))


@every_objective
def test_nothing_is_changed_in_place(objective):
    candidates, _ = with_gradients(drawn(objective, seed=13))
    before = [tensor.detach().clone() for tensor in tensors(candidates)]
    objective(candidates).sum().backward()
    objective.implicit_rewards(candidates)
    objective.initial_loss(candidates)
    assert all(map(torch.equal, tensors(candidates), before))


@every_objective
@settings(max_examples=10)
@given(seeds, st.booleans())
def test_loss_and_gradient_in_float32_are_those_in_float64(objective, seed, start):
    single = mapped(drawn(objective, seed), Tensor.float)
    found = {}
    for candidates in (single, mapped(single, Tensor.double)):
        candidates, leaves = with_gradients(candidates)
        candidates = (
            with_policy(at_the_start(objective, candidates), leaves) if start else candidates
        )  # where differences vanish
        loss, rewards = objective(candidates), objective.implicit_rewards(candidates)
        assert loss.dtype == rewards.dtype == leaves[0].dtype
        found[loss.dtype] = [loss, *torch.autograd.grad(loss.sum(), leaves, allow_unused=True, materialize_grads=True)]
    for ours, exact in zip(found[torch.float32], found[torch.float64], strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-6)


@each({name: objective for name, objective in OBJECTIVES.items() if name not in LOWERS_BOTH})
def test_raising_the_first_log_prob_lowers_the_loss_where_it_is_far_too_low(objective):
    # The first response is the chosen one, with the best reward. Beside it stands a prompt that stayed at the start.
    candidates = at_the_start(objective, drawn(objective, seed=15))
    degrees, tokens, *of_roles = policy_of(candidates)
    first = candidates.policy.owner == 0
    candidates = with_policy(candidates, [degrees, tokens - 20 * first / first.sum(), *of_roles])
    candidates, leaves = with_gradients(dataclasses.replace(candidates, step=alone(candidates)))
    objective(candidates)[0].backward()
    assert leaves[1].grad[first].sum() < 0


@every_method
def test_recipe_comes_back_from_its_dump(name):
    assert load(dump(recipe(name))) == recipe(name)


@every_method
def test_recipe_comes_back_through_yaml(name):
    assert load(yaml.safe_load(yaml.safe_dump(dump(recipe(name))))) == recipe(name)


@every_method
def test_objective_is_saved_under_the_name_of_its_method(name):
    dumped = dump(recipe(name))
    brought = dumped["update"]["merging"] or dumped["objective"]  # a paper may bring an update alone
    assert dumped["method"] == name
    if dumped["domains"] is None and dumped["clients"] is None:  # nor a loss, where it says whose rows come when
        assert brought["kind"] == name


@every_method
def test_docstring_gives_the_contract_with_the_paper(name):
    method = describe(name)
    assert "arXiv:" in method["paper"]
    assert all(method[row] for row in ("title", "loss", "recipe", "differs"))
    assert 2015 < method["year"] < 2100


@every_method
def test_docstring_says_where_the_loss_was_read(name):
    known = {"paper", "code", "others", "memory", "reconstructed"}
    assert set(re.split(", |:", describe(name)["read"])[:1]) <= known


@every_method
def test_every_setting_has_a_description_and_a_source(name):
    for row in describe(name)["settings"]:
        assert row["description"], row
        assert row["source"] in ("paper", "code", "ours"), row
