"""The games that come with the package."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from truenorth.errors import SettingsError
from truenorth.games import GAMES, equilibrium, game_of, spread

rewards = st.lists(st.integers(-30, 30).map(lambda n: n / 10), min_size=2, max_size=6, unique=True)


@pytest.mark.parametrize("name", GAMES)
def test_the_same_settings_give_the_same_game(name: str) -> None:
    assert (game_of(name).wins == game_of(name).wins).all()


@pytest.mark.parametrize("name", GAMES)
def test_no_start_is_an_equilibrium_already(name: str) -> None:
    game = game_of(name)
    assert game.exploitability(np.exp(game.log_start)) > 0.01


@given(st.integers(2, 9), st.integers(0, 9))
def test_a_drawn_game_depends_on_its_seed(actions: int, seed: int) -> None:
    one, other = (game_of("random", actions=actions, seed=s).wins for s in (seed, seed + 1))
    assert one.shape == (actions, actions)
    assert (one != other).any()


def test_drawn_preferences_are_even_over_all_that_they_can_be() -> None:
    above = game_of("random", actions=100).wins[np.triu_indices(100, 1)]
    shares = np.histogram(above, bins=5, range=(0, 1))[0] / len(above)
    np.testing.assert_allclose(shares, 0.2, atol=0.02)  # of 4950 draws: 3.5 standard errors


@given(rewards)
@settings(max_examples=30)  # up to thirteen linear programs each
def test_the_equilibrium_of_a_scalar_reward_is_its_best_answer(rewards: list[float]) -> None:
    game = game_of("bradley_terry", rewards=tuple(rewards))
    best = np.eye(len(rewards))[int(np.argmax(rewards))]
    np.testing.assert_allclose(equilibrium(game), best, atol=1e-9)
    low, high = spread(game)
    np.testing.assert_allclose(low, best, atol=1e-6)  # differences of 0.1 count as 0.025 to the solver's 1e-10
    np.testing.assert_allclose(high, best, atol=1e-6)


def test_scalar_rewards_have_no_circle() -> None:
    wins = game_of("bradley_terry", rewards=(0.0, 1.0, 2.0)).wins
    assert wins[2, 1] > 0.5
    assert wins[1, 0] > 0.5
    assert wins[2, 0] > wins[2, 1]


def test_annotators_without_circles_make_a_crowd_with_one() -> None:
    wins = game_of("annotators").wins
    assert wins[0, 1] > 0.5
    assert wins[1, 2] > 0.5
    assert wins[2, 0] > 0.5
    assert (equilibrium(game_of("annotators")) > 0.1).all()


@given(rewards)
def test_a_crowd_of_one_is_its_scalar_reward(rewards: list[float]) -> None:
    one = game_of("annotators", rewards=(tuple(rewards),), shares=(3.0,))
    np.testing.assert_allclose(one.wins, game_of("bradley_terry", rewards=tuple(rewards)).wins, atol=1e-15)


def test_perturbed_rock_paper_scissors_has_its_known_equilibrium() -> None:
    np.testing.assert_allclose(equilibrium(game_of("perturbed_rps")), np.array([1, 3, 3]) / 7, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rewards": ((1.0, 2.0), (1.0, 2.0, 3.0)), "shares": (1.0, 1.0)}, "rows of [2, 3]"),
        ({"shares": (1.0,)}, "one for each of the 3 rows"),
        ({"shares": (0.0, 0.0, 0.0)}, "not all 0"),
        ({"shers": (1.0,)}, "Did you mean shares?"),
    ],
)
def test_a_crowd_that_does_not_fit_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        game_of("annotators", **settings)
    assert said in str(refused.value)


def test_a_game_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match="Did you mean cyclic"):
        game_of("cyclical")
