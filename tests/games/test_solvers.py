"""One update of each solver: by hand, and as the other solvers at some setting."""

import itertools
from dataclasses import replace
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.games.strategies import games, log_policies
from truenorth.errors import SettingsError
from truenorth.games import SOLVERS, Game, Solver, State, equilibrium, game_of, regularised_equilibrium, solver_of
from truenorth.games.policies import Floats, geometric, normalised

Drawn = tuple[Game, State]


@st.composite
def states(draw: st.DrawFn) -> Drawn:
    """A game, and a policy and a magnet that know nothing of each other."""
    game = draw(games())
    return game, State(draw(log_policies(game.size)), draw(log_policies(game.size)))


etas, alphas = st.floats(0.01, 3), st.floats(0.01, 2)


def after(name: str, drawn: Drawn, **fields: object) -> Floats:
    """[A] nats: the policy after one update."""
    return solver_of(name, **fields).update(*drawn).log_policy


def same(first: Floats, second: Floats, atol: float = 1e-13) -> None:
    """Equal as probabilities, and nearly so as log-probabilities."""
    np.testing.assert_allclose(np.exp(first), np.exp(second), rtol=0, atol=atol)
    np.testing.assert_allclose(first, second, rtol=1e-12, atol=1e-12)


# By hand: two answers, the first always preferred; policy (1/2, 1/2), magnet (1/4, 3/4), alpha = eta = log 2.
# Win rates are (3/4, 1/4): exp(eta q) is in the ratio 2^(1/2) to 1. All that follows is the odds of the first answer.
ODDS = {
    "md": 2**0.5,
    "sppo": 2**0.5,
    "mmd": (3 ** -(log(2) ** 2) * 2**0.5) ** (1 / (1 + log(2) ** 2)),
    "mpo": (3 ** -(log(2) ** 2) * 2**0.5) ** (1 / (1 + log(2) ** 2)),
    "mpo_rt": 3 ** -(log(2) ** 2) * 2**0.5,  # exp(-eta alpha log(pi / magnet)) is 2^-.. to (2/3)^-..
    "inpo": 3 ** -(log(2) ** 2) * 2**0.5,
    "comal": 3 ** -(log(2) ** 2) * 2**0.5,
    "nash_md": 3 ** -(log(2) ** 2) * 2**0.5,  # win rates differ by 1/2 against any opponent, the mixture too
    "egpo": 3 ** -(log(2) ** 2) * 2**0.5,  # and so half a step ahead
    "optimistic_md": 2**0.5,
}


@pytest.mark.parametrize("name", SOLVERS)
def test_an_update_by_hand(name: str) -> None:
    game = Game(np.array([[0.5, 1.0], [0.0, 0.5]]))
    state = State(np.log([0.5, 0.5]), np.log([0.25, 0.75]))
    fields = type(solver_of(name)).model_fields
    found = np.exp(after(name, (game, state), **{field: log(2) for field in ("alpha", "eta") if field in fields}))
    assert found[0] / found[1] == pytest.approx(ODDS[name], rel=1e-12)


@pytest.mark.parametrize("name", SOLVERS)
@given(drawn=states(), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_answers_have_no_order(name: str, drawn: Drawn, seed: int) -> None:
    game, state = drawn
    order = np.random.default_rng(seed).permutation(game.size)
    shuffled = Game(game.wins[np.ix_(order, order)])
    moved = replace(state, log_policy=state.log_policy[order], log_magnet=state.log_magnet[order])
    same(after(name, (shuffled, moved)), after(name, drawn)[order])


@pytest.mark.parametrize("name", SOLVERS)
def test_large_steps_stay_finite_in_log_space(name: str) -> None:
    fields = type(solver_of(name)).model_fields
    large = {field: value for field, value in {"eta": 1e3, "alpha": 1e-3}.items() if field in fields}
    game, solver = game_of("cyclic"), solver_of(name, **large)
    state = State(game.log_start, game.log_start)
    for _ in range(300):
        state = solver.update(game, state)
    assert np.isfinite(state.log_policy).all()
    assert np.exp(state.log_policy).sum() == pytest.approx(1, abs=1e-12)


# Reductions


@given(states(), etas)
@settings(max_examples=50)
def test_mmd_without_a_pull_is_mirror_descent(drawn: Drawn, eta: float) -> None:
    np.testing.assert_array_equal(after("mmd", drawn, alpha=0, eta=eta), after("md", drawn, eta=eta))


@given(states(), etas, alphas)
@settings(max_examples=50)
def test_mmd_whose_magnet_is_the_policy_is_mirror_descent_at_a_shorter_step(
    drawn: Drawn, eta: float, alpha: float
) -> None:
    game, state = drawn
    at_magnet = game, replace(state, log_magnet=state.log_policy)
    same(after("mmd", at_magnet, alpha=alpha, eta=eta), after("md", drawn, eta=eta / (1 + eta * alpha)))


@given(states(), alphas)
@settings(max_examples=50)
def test_mmd_with_a_long_step_answers_the_policy_best_near_the_magnet(drawn: Drawn, alpha: float) -> None:
    game, state = drawn
    best = normalised(state.log_magnet + game.win_rates(state.log_policy) / alpha)
    np.testing.assert_allclose(after("mmd", drawn, alpha=alpha, eta=1e12), best, atol=1e-6)


@given(states(), etas, alphas)
@settings(max_examples=50)
def test_mmd_maximises_what_it_says(drawn: Drawn, eta: float, alpha: float) -> None:
    game, state = drawn
    found, q = after("mmd", drawn, alpha=alpha, eta=eta), game.win_rates(state.log_policy)
    gradient = q - alpha * (found - state.log_magnet) - (found - state.log_policy) / eta
    assert np.ptp(gradient) < 1e-12 * (1 + 1 / eta)


@given(states(), etas, alphas)
@settings(max_examples=50)
def test_mpo_with_reward_transformation_is_mpo_at_a_longer_step_and_inpo(
    drawn: Drawn, eta: float, alpha: float
) -> None:
    mpo = after("mpo", drawn, alpha=alpha, eta=eta)
    shorter = eta / (1 + eta * alpha)
    same(after("mpo_rt", drawn, alpha=alpha, eta=shorter), mpo, atol=1e-14)
    same(after("inpo", drawn, alpha=alpha, eta=shorter), mpo, atol=1e-14)


@pytest.mark.parametrize("name", ["mpo_rt", "inpo", "comal"])
@given(drawn=states(), alpha=alphas)
@settings(max_examples=15)
def test_default_steps_are_those_of_mpo_carried_over(name: str, drawn: Drawn, alpha: float) -> None:
    same(after(name, drawn, alpha=alpha), after("mpo", drawn, alpha=alpha))


@given(states(), etas)
@settings(max_examples=50)
def test_sppo_is_mirror_descent(drawn: Drawn, eta: float) -> None:
    same(after("sppo", drawn, eta=eta), after("md", drawn, eta=eta))


@given(states(), etas)
@settings(max_examples=50)
def test_what_sppo_regresses_on_misses_its_update_by_one_small_constant(drawn: Drawn, eta: float) -> None:
    game, state = drawn
    target = eta * (game.win_rates(state.log_policy) - 0.5)
    missed = target - (after("sppo", drawn, eta=eta) - state.log_policy)
    assert np.ptp(missed) < 1e-13 * (1 + eta)
    assert -1e-13 <= missed[0] <= eta**2 / 8 + 1e-13  # log E exp of a mean of 0 in a range of eta


@given(states(), st.floats(0.01, 1), st.floats(0.01, 1))
@settings(max_examples=50)
def test_nash_md_moves_from_and_against_the_geometric_mixture(drawn: Drawn, eta: float, alpha: float) -> None:
    game, state = drawn
    mixture = geometric(state.log_policy, state.log_magnet, eta * alpha)
    at_mixture = game, replace(state, log_policy=mixture)
    same(after("nash_md", drawn, eta=eta, alpha=alpha), after("md", at_mixture, eta=eta))


@given(states(), alphas)
@settings(max_examples=50)
def test_the_first_update_of_nash_md_answers_the_magnet_best(drawn: Drawn, alpha: float) -> None:
    game, state = drawn
    same(after("nash_md", drawn, alpha=alpha), normalised(state.log_magnet + game.win_rates(state.log_magnet) / alpha))


@given(states(), st.floats(0.01, 1), st.floats(0.01, 1))
@settings(max_examples=50)
def test_egpo_takes_inpos_step_against_where_inpos_step_leads(drawn: Drawn, eta: float, alpha: float) -> None:
    game, state = drawn
    ahead = game.win_rates(after("inpo", drawn, eta=eta, alpha=alpha))
    mixture = geometric(state.log_policy, state.log_magnet, eta * alpha)
    same(after("egpo", drawn, eta=eta, alpha=alpha), normalised(mixture + eta * ahead))


@given(st.data(), st.floats(0.01, 1), st.floats(0.01, 1))
@settings(max_examples=50)
def test_where_the_opponent_does_not_matter_nobody_need_look_ahead(
    data: st.DataObject, eta: float, alpha: float
) -> None:
    worth = np.array(data.draw(st.lists(st.floats(0, 0.5), min_size=2, max_size=5)))
    game = Game(0.5 + worth[:, None] - worth[None, :])  # win rates are each answer's worth, and a constant
    drawn = game, State(data.draw(log_policies(game.size)), data.draw(log_policies(game.size)))
    same(after("egpo", drawn, eta=eta, alpha=alpha), after("inpo", drawn, eta=eta, alpha=alpha))
    for name in ("optimistic_md", "md"):
        state = drawn[1]
        for _ in range(3):
            state = solver_of(name, eta=eta).update(game, state)
        same(state.log_policy, normalised(drawn[1].log_policy + 3 * eta * worth))


@given(states(), etas)
@settings(max_examples=50)
def test_optimism_begins_as_mirror_descent(drawn: Drawn, eta: float) -> None:
    same(after("optimistic_md", drawn, eta=eta), after("md", drawn, eta=eta))


def trajectory(solver: Solver, updates: int) -> list[State]:
    game = game_of("cyclic")
    states = [State(game.log_start, game.log_start)]
    for _ in range(updates):
        states.append(solver.update(game, states[-1]))
    return states


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (solver_of("mpo", inner_steps=None), solver_of("mmd")),
        (solver_of("comal", inner="mmd", inner_steps=7), solver_of("mpo", inner_steps=7)),
        (solver_of("comal", inner="inpo", inner_steps=10**6), solver_of("inpo")),
    ],
    ids=["mpo that keeps its magnet is mmd", "comal around mmd is mpo", "comal's first solve is inpo"],
)
def test_whole_trajectories_agree_to_the_bit(first: Solver, second: Solver) -> None:
    for one, other in zip(trajectory(first, 40), trajectory(second, 40), strict=True):
        np.testing.assert_array_equal(one.log_policy, other.log_policy)


def test_a_magnet_that_is_replaced_at_once_leaves_mirror_descent() -> None:
    eta, alpha = 0.1 / 0.4**2, 0.1
    game, states = game_of("cyclic"), trajectory(solver_of("mpo", inner_steps=1, alpha=alpha), 5)
    for before, found in itertools.pairwise(states):
        same(found.log_policy, after("md", (game, before), eta=eta / (1 + eta * alpha)))
        np.testing.assert_array_equal(found.log_magnet, found.log_policy)


@pytest.mark.parametrize("trail", [0.3, 1.0])
def test_a_magnet_that_trails_follows_the_policy_before_the_update(trail: float) -> None:
    for before, found in itertools.pairwise(trajectory(solver_of("mmd", trail=trail), 5)):
        same(found.log_magnet, geometric(before.log_magnet, before.log_policy, trail))


def test_the_magnet_is_replaced_after_so_many_updates() -> None:
    states = trajectory(solver_of("mpo", inner_steps=4), 9)
    assert [state.magnets for state in states] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    np.testing.assert_array_equal(states[8].log_magnet, states[8].log_policy)
    np.testing.assert_array_equal(states[9].log_magnet, states[8].log_policy)
    np.testing.assert_array_equal(states[3].log_magnet, states[0].log_policy)


# Fixed points


@pytest.mark.parametrize("name", ["md", "sppo", "optimistic_md", "egpo"])
def test_an_interior_equilibrium_is_left_alone(name: str) -> None:
    game = game_of("perturbed_rps")
    nash = np.log(equilibrium(game))
    no_pull = {"alpha": 0} if name == "egpo" else {}
    same(after(name, (game, State(nash, game.log_start)), **no_pull), nash)


@pytest.mark.parametrize("name", ["mmd", "inpo", "egpo", "mpo", "mpo_rt", "comal"])
@given(states(), st.floats(0.02, 2))
@settings(max_examples=15)
def test_a_regularised_equilibrium_is_left_alone(name: str, drawn: Drawn, alpha: float) -> None:
    game, state = drawn
    found = regularised_equilibrium(game, state.log_magnet, alpha)
    after_one = after(name, (game, replace(state, log_policy=found)), alpha=alpha)
    np.testing.assert_allclose(np.exp(after_one), np.exp(found), rtol=0, atol=1e-11)


def test_nash_md_at_a_constant_step_leaves_the_regularised_equilibrium() -> None:
    game = game_of("cyclic")
    found = regularised_equilibrium(game, game.log_start, 0.1)
    moved = after("nash_md", (game, State(found, game.log_start)), eta=0.5)
    assert abs(np.exp(moved) - np.exp(found)).max() > 1e-4


# Settings


@pytest.mark.parametrize("name", ["inpo", "nash_md", "egpo", "mpo_rt", "comal"])
def test_a_step_past_the_magnet_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"eta \* alpha must be at most 1, got 4 \* 0.5"):
        solver_of(name, alpha=0.5, eta=4.0)


@pytest.mark.parametrize("name", ["mmd", "mpo"])
def test_no_pull_needs_a_step(name: str) -> None:
    with pytest.raises(SettingsError, match="at alpha = 0 has no step size of its own"):
        solver_of(name, alpha=0)


def test_a_solver_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match="Did you mean nash_md"):
        solver_of("nash-md")


def test_what_is_no_solver_is_refused() -> None:
    with pytest.raises(SettingsError, match="is not a subclass"):
        solver_of("truenorth.games:Game")


def test_a_game_without_preferences_has_a_step_too() -> None:
    game = Game(np.full((3, 3), 0.5))
    state = State(np.log([0.2, 0.3, 0.5]), np.log([0.5, 0.3, 0.2]))
    for name in SOLVERS:
        assert np.isfinite(after(name, (game, state))).all()
