"""OFS-DPO by hand, its term of both modules by its laws, and what it is without the one thing that makes it."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.drawn import drawn
from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods import dump, load, override, recipe
from truenorth.methods.dpo import DPO
from truenorth.methods.ofs_dpo import OFSDPO, OFSDPOSlow
from truenorth.types import LogProbs

log_probs = st.floats(-60, -0.1)
pairs = st.tuples(log_probs, log_probs)
both_roles = pytest.mark.parametrize("role", [OFSDPO, OFSDPOSlow])


def seen(policy, peer, reference=(0.0, 0.0)):
    """One pair as a module sees it, beside its peer."""
    candidates = scored([policy])
    given = {
        name: LogProbs(torch.tensor([totals], dtype=torch.float64), candidates.policy.length)
        for name, totals in {"initial": reference, "peer": peer}.items()
    }
    return dataclasses.replace(candidates, references=given)


def slope_in_margin(objective, candidates):
    """d loss / d margin of the policy."""
    leaf = candidates.policy.total.clone().requires_grad_()
    loss = objective(dataclasses.replace(candidates, policy=dataclasses.replace(candidates.policy, total=leaf)))
    loss.sum().backward()
    return leaf.grad[0, 0].item()  # the chosen answer's, since beta is 1


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_ofs_dpo_by_hand():
    # beta 0.5: the fast margin is 0.5 * 3, the slow one 0.5 * 1; reference 0
    fast, slow = (-1.0, -4.0), (-2.0, -3.0)
    apart = math.log(1 + math.exp(-(1.5 - 0.5)))
    inner = DPO(beta=0.5)
    found = OFSDPO(inner=inner, alpha=0.2)(seen(fast, slow)).item()
    assert found == pytest.approx(math.log(1 + math.exp(-1.5)) + 0.2 * apart, rel=1e-12)
    found = OFSDPOSlow(inner=inner, alpha=0.2)(seen(slow, fast)).item()
    assert found == pytest.approx(math.log(1 + math.exp(-0.5)) - 0.2 * apart, rel=1e-12)


@both_roles
@given(pairs, pairs)
def test_alpha_zero_is_the_inner_loss_to_the_bit(role, policy, peer):
    candidates = seen(policy, peer)
    assert torch.equal(role(alpha=0.0)(candidates), DPO()(candidates))


@both_roles
@given(pairs, pairs, pairs)
def test_what_ties_the_modules_does_not_depend_on_the_reference(role, policy, peer, reference):
    def tie(candidates):
        objective = role(inner=DPO(beta=1.0), alpha=1.0, clamp=None)
        return (objective(candidates) - objective.inner(candidates)).item()

    assert tie(seen(policy, peer, reference)) == pytest.approx(tie(seen(policy, peer)), abs=1e-12)


@given(pairs)
def test_level_modules_give_log_two_and_half_of_alpha_upwards_in_both_roles(totals):
    level, inner = seen(totals, totals), DPO(beta=1.0)
    base = slope_in_margin(inner, level)
    for role, sign in ((OFSDPO, 1), (OFSDPOSlow, -1)):
        objective = role(inner=inner, alpha=0.3, clamp=None)
        assert (objective(level) - inner(level)).item() == pytest.approx(sign * 0.3 * math.log(2), rel=1e-9)
        assert slope_in_margin(objective, level) == pytest.approx(base - 0.15, rel=1e-9)


@given(pairs, pairs)
def test_slopes_are_those_of_the_equations(fast, slow):
    inner, m_fast, m_slow = DPO(beta=1.0), fast[0] - fast[1], slow[0] - slow[1]
    pull = 0.3 * sigmoid(-(m_fast - m_slow))  # the same for both modules
    found = slope_in_margin(OFSDPO(inner=inner, alpha=0.3, clamp=None), seen(fast, slow))
    assert found == pytest.approx(-sigmoid(-m_fast) - pull, rel=1e-9, abs=1e-12)
    found = slope_in_margin(OFSDPOSlow(inner=inner, alpha=0.3, clamp=None), seen(slow, fast))
    assert found == pytest.approx(-sigmoid(-m_slow) - pull, rel=1e-9, abs=1e-12)


@both_roles
@given(pairs, pairs)
def test_a_margin_beyond_the_clamp_is_pulled_by_the_inner_loss_alone(role, policy, peer):
    candidates, inner = seen((policy[0] + 70, policy[1]), peer), DPO(beta=1.0)  # a margin above 10
    objective = role(inner=inner, alpha=0.5, clamp=10.0)
    assert slope_in_margin(objective, candidates) == slope_in_margin(inner, candidates)


def test_the_slow_loss_has_a_lower_end_with_a_clamp_only():
    far = [seen((margin, 0.0), (-50.0, 0.0)) for margin in (10.0, 100.0, 1000.0)]
    inner = DPO(beta=1.0)
    clamped, free = (OFSDPOSlow(inner=inner, alpha=0.5, clamp=clamp) for clamp in (10.0, None))
    lowest = -0.5 * math.log(1 + math.exp(20))
    assert all(clamped(one).item() >= lowest - 1e-9 for one in far)
    assert free(far[-1]).item() < free(far[0]).item() - 400


def test_without_the_stop_gradient_the_sum_is_plain_dpo():
    # and so that it is there: a peer that carries gradients takes the term out of both modules
    candidates = drawn(OFSDPO(), seed=3)
    totals = candidates.references["peer"].total
    fast, slow = totals.clone().requires_grad_(), (0.5 * totals).requires_grad_()

    def sees(mine, theirs):
        peer = dataclasses.replace(candidates.references["peer"], total=theirs)
        policy = dataclasses.replace(candidates.policy, total=mine)
        return dataclasses.replace(candidates, policy=policy, references=dict(candidates.references) | {"peer": peer})

    objective = OFSDPO(alpha=0.7)

    def gradients(of_fast, of_slow):
        total = objective(sees(fast, of_slow)).sum() + objective.slow(sees(slow, of_fast)).sum()
        return torch.autograd.grad(total, [fast, slow])

    plain = torch.autograd.grad(DPO()(sees(fast, slow)).sum() + DPO()(sees(slow, fast)).sum(), [fast, slow])
    for coupled, held, alone in zip(
        gradients(fast, slow), gradients(fast.detach(), slow.detach()), plain, strict=True
    ):
        torch.testing.assert_close(coupled, alone, rtol=1e-12, atol=1e-12)
        assert not torch.allclose(held, alone, rtol=1e-2)


@pytest.mark.parametrize("inner", ["ipo", "simpo", "rpo", "slic", "odpo", "orpo", "dpo"])
def test_any_loss_of_pairs_may_be_inside_and_comes_back_from_its_dump(inner):
    own = recipe(inner).objective
    made = recipe("ofs_dpo", inner={"kind": inner}, alpha=0.0)
    assert made.objective.inner == own
    assert load(dump(made)) == made
    candidates = drawn(made.objective, seed=1)
    assert torch.equal(made.objective(candidates), own(candidates))


@pytest.mark.parametrize("inner", ["kto", "sft", "reward", "aot", "ofs_dpo", "spo", "mpo"])
def test_another_loss_inside_is_refused(inner):
    with pytest.raises(SettingsError, match="no loss of one pair"):
        recipe("ofs_dpo", inner={"kind": inner})


def test_settings_of_the_inner_loss_are_set_by_path():
    changed = override(recipe("ofs_dpo"), "inner.beta", "0.3")
    assert changed.objective.inner == DPO(beta=0.3)
    assert override(recipe("ofs_dpo"), "inner.kind", "ipo").objective.inner == recipe("ipo").objective
    assert load({"method": "ofs_dpo", "objective": {"inner": {"beta": 0.2}}}).objective.inner == DPO(beta=0.2)


def test_roles_are_each_others():
    fast = OFSDPO(inner=DPO(beta=0.3), alpha=0.2, clamp=None)
    assert type(fast.slow) is OFSDPOSlow
    assert fast.slow.slow == fast


def test_a_chase_without_two_modules_and_two_modules_without_a_chase_are_refused():
    with pytest.raises(SettingsError, match="trains one module"):
        recipe("dpo").replace(chase={})
    with pytest.raises(SettingsError, match="trains two modules"):
        recipe("ofs_dpo").replace(chase=None)
    with pytest.raises(SettingsError, match="one policy's"):
        recipe("ofs_dpo").replace(schedule={"rounds": 2})
    with pytest.raises(SettingsError, match="could not say whom"):
        recipe("ofs_dpo").replace(references={"initial": {"kind": "moving"}})
