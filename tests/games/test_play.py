"""Whole plays: counted alike, and the numbers that papers and our own derivations give for known games."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.games.strategies import games, log_policies
from truenorth.errors import SettingsError
from truenorth.games import SOLVERS, Game, begin, equilibrium, game_of, play, regularised_equilibrium, solver_of
from truenorth.games.policies import Floats, kl

CYCLIC = game_of("cyclic")
REGULARISED = 2.941386913913e-2  # exploitability of the regularised equilibrium at alpha = 0.1


# Counting


@pytest.mark.parametrize("name", SOLVERS)
def test_steps_are_the_policies_whose_win_rates_were_asked_for(name: str) -> None:
    asked = list[int]()

    class Counted(Game):
        def win_rates(self, log_policy: Floats) -> Floats:
            asked.append(1)
            return Game.win_rates(self, log_policy)

    game = Counted(CYCLIC.wins, start=CYCLIC.start)
    played = play(game, solver_of(name), steps=11)
    assert len(asked) == played.steps[-1] == (10 if name == "egpo" else 11)


def test_the_average_is_the_mean_of_the_policies_after_each_update() -> None:
    one, two = (play(CYCLIC, solver_of("md"), steps=n) for n in (1, 2))
    np.testing.assert_allclose(two.average, (one.policy + two.policy) / 2, rtol=1e-14)
    assert two.average_curve[-1] == pytest.approx(CYCLIC.exploitability(two.average), abs=1e-16)
    assert two.last_curve[1] == one.last_curve[1]


def test_steps_below_counts_from_where_it_stays_below() -> None:
    played = play(CYCLIC, solver_of("md", eta=1.0), steps=60)
    assert (played.last_curve < 0.2).any()
    assert played.steps_below(0.2) is None  # it comes back
    assert played.steps_below(0.5) == 0


def test_too_few_steps_for_an_update_are_refused() -> None:
    with pytest.raises(SettingsError, match="egpo takes 2 steps an update"):
        play(CYCLIC, solver_of("egpo"), steps=1)


def test_a_start_of_ones_own() -> None:
    start = np.log([0.6, 0.3, 0.1])
    played = play(CYCLIC, solver_of("mmd"), steps=1, log_start=start)
    np.testing.assert_array_equal(played.state.log_magnet, start)
    assert played.last_curve[0] == pytest.approx(CYCLIC.exploitability(np.exp(start)))


# The cyclic game, from (0.2, 0.5, 0.3)


@pytest.mark.parametrize(
    ("name", "settings", "last", "average"),
    [
        ("md", {"eta": 0.1}, 2.4e-1, 1.5e-3),
        ("md", {"eta": 1.0}, 4.0e-1, 3.0e-3),
        ("nash_md", {"eta": 0.1}, 2.889e-2, None),
        ("nash_md", {"eta": 0.5}, 2.745e-2, None),
        ("inpo", {"eta": 0.1}, 2.941e-2, None),
        ("inpo", {"eta": 0.5}, 2.941e-2, None),
        ("egpo", {}, 2.941e-2, None),
    ],
)
def test_last_and_average_after_5000_updates(
    name: str, settings: dict[str, float], last: float, average: float
) -> None:
    solver = solver_of(name, **settings)
    played = play(CYCLIC, solver, steps=5000 * solver.evaluations)
    assert played.last_curve[-1] == pytest.approx(last, rel=0.02 if name == "md" else 2e-4)  # as many digits as given
    assert average is None or played.average_curve[-1] == pytest.approx(average, rel=0.02)


@pytest.mark.parametrize(
    ("name", "settings", "below"),
    [
        ("optimistic_md", {"eta": 0.5}, 1e-12),
        ("egpo", {"alpha": 0, "eta": 0.5}, 1e-12),
        ("mpo", {"alpha": 0.05}, 1e-14),
    ],
)
def test_these_reach_the_equilibrium_of_the_game_itself(name: str, settings: dict[str, float], below: float) -> None:
    solver = solver_of(name, **settings)
    assert play(CYCLIC, solver, steps=5000 * solver.evaluations).last_curve[-1] < below


@pytest.mark.parametrize("name", ["mpo", "mpo_rt", "comal"])
def test_mpo_is_below_1e_8_within_20_magnets(name: str) -> None:
    played = play(CYCLIC, solver_of(name, alpha=0.1, inner_steps=100), steps=2600)
    assert played.state.magnets == 26
    assert played.last_curve[2000] < 1e-8
    assert played.last_curve[2600] < 1e-10


def test_a_magnet_of_every_step_circles() -> None:
    played = play(CYCLIC, solver_of("mpo", alpha=0.1, inner_steps=1), steps=20000)
    assert played.last_curve[-1] >= 0.3


@pytest.mark.parametrize("name", ["mmd", "inpo", "egpo"])
def test_a_fixed_magnet_stops_at_the_regularised_equilibrium(name: str) -> None:
    played = play(CYCLIC, solver_of(name, alpha=0.1), steps=2000)
    assert played.last_curve[-1] == pytest.approx(REGULARISED, abs=1e-12)
    found = regularised_equilibrium(CYCLIC, CYCLIC.log_start, 0.1)
    np.testing.assert_allclose(played.policy, np.exp(found), atol=1e-12)


@pytest.mark.parametrize(
    ("alpha", "inner_steps", "coarse", "fine"),
    [
        (0.02, 100, 45, 103),
        (0.05, 100, 8, 18),
        (0.1, 10, 164, 377),
        (0.1, 100, 9, 20),
        (0.3, 10, 35, 80),
        (1.0, 10, 313, 761),
    ],
)
def test_magnets_needed(alpha: float, inner_steps: int, coarse: int, fine: int) -> None:
    """Until the exploitability at the magnets stays below 1e-4, and below 1e-8."""
    played = play(CYCLIC, solver_of("mpo", alpha=alpha, inner_steps=inner_steps), steps=(fine + 1) * inner_steps)
    at_magnets = played.last_curve[::inner_steps]
    assert np.flatnonzero(at_magnets < 1e-4)[0] == coarse
    assert np.flatnonzero(at_magnets < 1e-8)[0] == fine


def test_a_magnet_that_rests_too_briefly_circles() -> None:
    played = play(CYCLIC, solver_of("mpo", alpha=0.05, inner_steps=10), steps=10000)
    assert played.last_curve[-2000:].max() > 0.25


# Theorems


@given(st.data(), st.sampled_from([0.05, 0.1, 0.5]))
@settings(max_examples=40)
def test_mmd_contracts_as_its_theorem_says(data: st.DataObject, alpha: float) -> None:
    """KL(pi_alpha || pi_k) (1 + eta alpha)^k never rises, at the largest step that is allowed."""
    game = data.draw(games(most=4))
    log_start = data.draw(log_policies(game.size))
    if game.smoothness == 0:
        return
    solution, solver = regularised_equilibrium(game, log_start, alpha), solver_of("mmd", alpha=alpha)
    factor = 1 + (alpha / game.smoothness) ** 2
    state = begin(game, log_start)
    bound = kl(solution, state.log_policy)
    for _ in range(40):
        state, bound = solver.update(game, state), bound / factor
        found = kl(solution, state.log_policy)
        assert found <= bound + 1e-14
        bound = max(found, 0.0)


def test_nash_md_stays_within_its_bound() -> None:
    solution, alpha = regularised_equilibrium(CYCLIC, CYCLIC.log_start, 0.1), 0.1
    state, solver = begin(CYCLIC), solver_of("nash_md", alpha=alpha)
    for update in range(1, 2001):
        state = solver.update(CYCLIC, state)
        assert kl(solution, state.log_policy) <= 8 / (alpha**2 * (update + 1))
    assert kl(solution, state.log_policy) < 1e-5


@given(games(), st.sampled_from([0.05, 0.2]))
@settings(max_examples=30)
def test_mirror_descent_has_no_regret(game: Game, eta: float) -> None:
    """The mean of T policies is exploitable by at most log(A) / (eta T) + eta / 8; without the start, 1/T more."""
    steps = 200
    played = play(game, solver_of("md", eta=eta), steps=steps)
    assert (
        played.average_curve[-1] <= np.log(game.size) / (eta * steps) + eta / 8 + 1 / steps
    )  # + 1/T: the start's share


@pytest.mark.parametrize(("alpha", "monotone"), [(0.1, True), (0.02, True)])
def test_the_divergence_from_the_equilibrium_never_rises_from_magnet_to_magnet(alpha: float, monotone: bool) -> None:
    nash, state = np.log(equilibrium(CYCLIC)), begin(CYCLIC)
    solver, magnets = solver_of("mpo", alpha=alpha, inner_steps=100), list[float]()
    for _ in range(1500):
        state = solver.update(CYCLIC, state)
        if state.updates == 0:
            magnets.append(kl(nash, state.log_magnet))
    assert len(magnets) == 15
    assert (np.diff(magnets) <= 1e-15).all() == monotone


def test_against_a_scalar_reward_mpo_puts_everything_on_the_best_answer() -> None:
    game = game_of("bradley_terry", rewards=(0.0, 1.0, -1.0, 0.5))
    played = play(game, solver_of("mpo"), steps=5000)
    assert played.policy[1] == pytest.approx(1, abs=1e-8)


def test_ties_leave_several_equilibria_and_mpo_finds_one() -> None:
    twins = [0, 1, 2, 2]  # the third answer twice: how its probability is shared is nobody's concern
    game = Game(CYCLIC.wins[np.ix_(twins, twins)], start=(0.2, 0.5, 0.05, 0.25))
    played = play(game, solver_of("mpo"), steps=3000)
    assert played.last_curve[-1] < 1e-10
    assert played.policy[2] / played.policy[3] == pytest.approx(0.2, rel=1e-9)  # nothing moves it from the start's
