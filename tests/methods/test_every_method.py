"""What holds for every method of the table: gradients, finite numbers, declared invariances, theory at the start."""

import dataclasses
import itertools

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.scored import scored
from truenorth.methods import METHODS, describe, dump, load, recipe
from truenorth.types import LogProbs

OBJECTIVES = {name: recipe(name).objective for name in METHODS} | {
    "dpo, smoothed": recipe("dpo", label_smoothing=0.1).objective,
    "simpo, no margin": recipe("simpo", gamma_over_beta=0.0).objective,
    "f_divergence_dpo, forward KL": recipe("f_divergence_dpo", alpha=1.0).objective,
    "aps, many temperatures": recipe("aps", beta=1.0).objective,
}
REFERRING = {name: objective for name, objective in OBJECTIVES.items() if objective.references}
DETACHED = {"wpo"}  # holds a part of its loss for constant, so finite differences are taken in its own tests
LOWERS_BOTH = {"apo_down"}  # by intention, see its own tests
INVARIANCES = ("prompt_shift", "permuted_rejected", "reward_shift")


def sizes(objective):
    """The numbers of responses that it is tested with."""
    fewest, most = objective.candidates
    return range(fewest, (most or fewest + 2) + 1)


def columns(prompts, dtype=torch.float32):
    """Numbers of the data for each prompt, under the names that objectives read."""
    label = torch.tensor([float(i % 2 == 0) for i in range(prompts)], dtype=dtype)
    return {"dispersion": torch.linspace(0.1, 0.9, prompts, dtype=dtype), "label": label}


def drawn(seed, k):
    """Two prompts with `k` responses, all numbers random, the best reward first as in the data."""
    generator = torch.Generator().manual_seed(seed)

    def normal():
        return 3 * torch.randn(2, k, generator=generator, dtype=torch.float64)

    length = torch.randint(1, 9, (2, k), generator=generator).double()
    rewards = normal().sort(-1, descending=True).values
    return scored(normal() - 9, normal() - 9, rewards=rewards, length=length, columns=columns(2, torch.float64))


def changed(candidates, invariance, by):
    """`candidates` after what should leave an invariant loss as it is."""
    total, rewards = candidates.policy.total, candidates.rewards
    match invariance:
        case "prompt_shift":
            return dataclasses.replace(candidates, policy=LogProbs(total + by, candidates.policy.length))
        case "reward_shift":
            return dataclasses.replace(candidates, rewards=rewards + by)
        case "permuted_rejected":
            order = [0, *reversed(range(1, total.shape[-1]))]
            return scored(
                total[:, order],
                candidates.references["initial"].total[:, order],
                rewards=rewards[:, order],
                length=candidates.policy.length[:, order],
                columns=candidates.columns,
            )


def has_a_meaning(objective, invariance):
    match invariance:
        case "prompt_shift":
            return objective.candidates[1] != 1
        case "reward_shift":
            return "rewards" in objective.reads
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


@each({name: objective for name, objective in OBJECTIVES.items() if name not in DETACHED})
def test_gradients_agree_with_finite_differences(objective):
    for k in sizes(objective):
        candidates = drawn(seed=1, k=k)

        def loss(total, candidates=candidates):
            policy = LogProbs(total, candidates.policy.length)
            return objective(dataclasses.replace(candidates, policy=policy))

        assert torch.autograd.gradcheck(loss, candidates.policy.total.requires_grad_())


@every_objective
def test_value_and_gradient_are_finite_at_ten_thousand_nats(objective):
    k = max(sizes(objective))
    extremes = torch.tensor(list(itertools.product([-1e4, 0.0, 1e4], repeat=k)))  # [3^k, K] float32
    for rewards in (extremes, -extremes, torch.zeros_like(extremes)):
        total = extremes.clone().requires_grad_()
        loss = objective(scored(total, rewards=rewards, columns=columns(len(total))))
        loss.sum().backward()
        assert torch.isfinite(loss).all()
        assert torch.isfinite(total.grad).all()


@pytest.mark.parametrize(("objective", "invariance"), pairs(declared=True))
@given(st.integers(0, 2**31), st.floats(-20, 20))
def test_declared_invariance_holds(objective, invariance, seed, by):
    candidates = drawn(seed, k=max(sizes(objective)))
    after = objective(changed(candidates, invariance, by))
    torch.testing.assert_close(after, objective(candidates), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("objective", "invariance"), pairs(declared=False))
def test_undeclared_invariance_has_a_counterexample(objective, invariance):
    candidates = drawn(seed=3, k=max(sizes(objective)))
    before, after = objective(candidates), objective(changed(candidates, invariance, by=-100.0))
    assert (after - before).abs().max() > 1e-3 * before.abs().max()


@every_objective
def test_invariance_without_a_meaning_is_not_declared(objective):
    assert all(has_a_meaning(objective, invariance) for invariance in objective.invariances)


@each(REFERRING)
def test_initial_loss_is_the_loss_where_policy_and_reference_agree(objective):
    for k in sizes(objective):
        candidates = drawn(seed=5, k=k)
        initial, length = candidates.references["initial"].total, candidates.policy.length
        candidates = scored(initial, initial, rewards=candidates.rewards, length=length, columns=candidates.columns)
        torch.testing.assert_close(objective.initial_loss(candidates), objective(candidates))


@every_objective
def test_initial_loss_is_given_by_objectives_with_a_reference_only(objective):
    given_by = objective.initial_loss(drawn(seed=5, k=min(sizes(objective)))) is not None
    assert given_by == bool(objective.references)


@every_objective
def test_loss_is_one_number_per_prompt_and_the_implicit_reward_one_per_response(objective):
    for k in sizes(objective):
        candidates = drawn(seed=7, k=k)
        assert objective(candidates).shape == (2,)
        assert objective.implicit_rewards(candidates).shape == (2, k)


@every_objective
def test_loss_of_a_prompt_does_not_depend_on_the_other_prompts(objective):
    # But through what their step says of them all, where it couples rows.
    both = drawn(seed=9, k=max(sizes(objective)))
    second = scored(
        both.policy.total[1:],
        both.references["initial"].total[1:],
        rewards=both.rewards[1:],
        length=both.policy.length[1:],
        columns={name: column[1:] for name, column in both.columns.items()},
    )
    second = dataclasses.replace(second, step=both.step)
    torch.testing.assert_close(objective(second), objective(both)[1:])


@each({name: objective for name, objective in OBJECTIVES.items() if name not in LOWERS_BOTH})
def test_raising_the_first_log_prob_lowers_the_loss_where_it_is_far_too_low(objective):
    # The first response is the chosen one, with the best reward. Beside it stands a prompt that stayed at the start.
    k = max(sizes(objective))
    rest = [0.0] * (k - 1)
    total = torch.tensor([[-5.0, *rest], [0.0, *rest]]).requires_grad_()
    rewards = torch.tensor([[4.0, *rest], [4.0, *rest]])
    objective(scored(total, rewards=rewards, columns=columns(2)))[0].backward()
    assert total.grad[0, 0] < 0


@every_method
def test_recipe_comes_back_from_its_dump(name):
    assert load(dump(recipe(name))) == recipe(name)


@every_method
def test_recipe_comes_back_through_yaml(name):
    assert load(yaml.safe_load(yaml.safe_dump(dump(recipe(name))))) == recipe(name)


@every_method
def test_objective_is_saved_under_the_name_of_its_method(name):
    assert dump(recipe(name))["objective"]["kind"] == dump(recipe(name))["method"] == name


@every_method
def test_docstring_gives_the_contract_with_the_paper(name):
    method = describe(name)
    assert "arXiv:" in method["paper"]
    assert all(method[row] for row in ("title", "loss", "recipe", "differs"))


@every_method
def test_every_setting_has_a_description_and_a_source(name):
    for row in describe(name)["settings"]:
        assert row["description"], row
        assert row["source"] in ("paper", "code", "ours"), row
