"""Equilibria by linear program and by Newton's method, and the identities that hold between them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.games.strategies import games, log_policies
from truenorth.games import Game, equilibrium, game_of, implied_exploitability, regularised_equilibrium, spread
from truenorth.games.policies import kl

alphas = st.sampled_from([0.02, 0.1, 0.5, 2.0])

# Sokota et al. 2022, their repository: quantal response equilibria of perturbed rock, paper, scissors
QUANTAL = {
    0.05: (0.1517447, 0.4679478, 0.3803076),
    0.1: (0.1734780, 0.4863032, 0.3402187),
    0.2: (0.2236449, 0.4779882, 0.2983669),
    0.5: (0.2981332, 0.4138205, 0.2880465),
}


def test_the_cyclic_game_has_its_known_equilibrium() -> None:
    np.testing.assert_allclose(equilibrium(game_of("cyclic")), np.array([4, 3, 4]) / 11, atol=1e-12)


@given(games(most=7))
def test_nothing_beats_an_equilibrium(game: Game) -> None:
    found = equilibrium(game)
    assert game.exploitability(found) < 1e-9
    assert found.sum() == pytest.approx(1, abs=1e-14)
    assert (found >= 0).all()


@given(games(most=4))
@settings(max_examples=30)  # eight linear programs each
def test_an_equilibrium_lies_within_the_spread_of_all(game: Game) -> None:
    low, high = spread(game)
    found = equilibrium(game)
    assert (low <= found + 1e-7).all()
    assert (found <= high + 1e-7).all()


def test_where_all_answers_tie_every_policy_is_an_equilibrium() -> None:
    low, high = spread(Game(np.full((4, 4), 0.5)))
    np.testing.assert_allclose(low, 0, atol=1e-9)
    np.testing.assert_allclose(high, 1, atol=1e-9)


def test_twins_share_their_probability_as_they_like() -> None:
    wins = game_of("cyclic").wins[np.ix_([0, 1, 2, 2], [0, 1, 2, 2])]
    low, high = spread(Game(wins))
    np.testing.assert_allclose(low, np.array([4, 3, 0, 0]) / 11, atol=1e-7)
    np.testing.assert_allclose(high, np.array([4, 3, 4, 4]) / 11, atol=1e-7)


@pytest.mark.parametrize("alpha", QUANTAL)
def test_quantal_response_equilibria_are_those_that_were_published(alpha: float) -> None:
    game = game_of("perturbed_rps")
    found = np.exp(regularised_equilibrium(game, game.log_start, alpha))
    np.testing.assert_allclose(found, QUANTAL[alpha], rtol=0, atol=2e-7)  # as printed they add up to 1 within 2e-7


@given(st.data(), alphas)
@settings(max_examples=40)
def test_a_regularised_equilibrium_answers_itself_best(data: st.DataObject, alpha: float) -> None:
    game = data.draw(games())
    magnet = data.draw(log_policies(game.size))
    found = regularised_equilibrium(game, magnet, alpha)
    pull = found - magnet - game.win_rates(found) / alpha  # the gradient, over alpha: a constant at the optimum
    assert np.ptp(pull) < 1e-11 * max(1, 1 / alpha)


@given(st.data(), alphas)
@settings(max_examples=40)
def test_exploitability_can_be_read_off_a_regularised_equilibrium(data: st.DataObject, alpha: float) -> None:
    game = data.draw(games())
    magnet = data.draw(log_policies(game.size))
    found = regularised_equilibrium(game, magnet, alpha)
    assert implied_exploitability(found, magnet, alpha) == pytest.approx(game.exploitability(np.exp(found)), abs=1e-12)


@given(st.data(), alphas)
@settings(max_examples=40)
def test_a_fixed_magnet_costs_at_most_alpha_times_its_rarest_answer(data: st.DataObject, alpha: float) -> None:
    game = data.draw(games())
    magnet = data.draw(log_policies(game.size))
    found = regularised_equilibrium(game, magnet, alpha)
    assert game.exploitability(np.exp(found)) <= -alpha * magnet.min() + 1e-12


@given(st.data(), alphas)
@settings(max_examples=40)
def test_the_three_point_identity_holds_between_equilibrium_magnet_and_solution(
    data: st.DataObject, alpha: float
) -> None:
    # KL(nash || pi) = KL(nash || magnet) - KL(pi || magnet) - nash^T A pi / alpha
    game = data.draw(games())
    magnet = data.draw(log_policies(game.size))
    nash = equilibrium(game)
    found = regularised_equilibrium(game, magnet, alpha)
    left = nash @ (magnet - found)  # KL(nash || pi) - KL(nash || magnet); nash's own entropy cancels, zeros and all
    right = -kl(found, magnet) - nash @ game.payoff @ np.exp(found) / alpha
    assert left == pytest.approx(right, abs=1e-10)


@given(st.data(), alphas)
@settings(max_examples=40)
def test_solving_towards_a_magnet_never_leads_away_from_an_equilibrium(data: st.DataObject, alpha: float) -> None:
    game = data.draw(games())
    magnet = data.draw(log_policies(game.size))
    nash = equilibrium(game)
    for _ in range(4):
        found = regularised_equilibrium(game, magnet, alpha)
        assert nash @ (magnet - found) <= -kl(found, magnet) + 1e-9  # by at least as much as the magnet moved
        magnet = found


def test_an_interior_equilibrium_comes_nearer_by_exactly_what_the_magnet_moved() -> None:
    game, nash = game_of("cyclic"), np.array([4, 3, 4]) / 11
    magnet = game.log_start
    for _ in range(5):
        found = regularised_equilibrium(game, magnet, 0.1)
        assert nash @ (magnet - found) == pytest.approx(-kl(found, magnet), abs=1e-14)
        magnet = found


def test_a_strong_magnet_is_all_that_counts_and_a_weak_one_nothing() -> None:
    game = game_of("cyclic")
    np.testing.assert_allclose(regularised_equilibrium(game, game.log_start, 1e6), game.log_start, atol=1e-5)
    assert game.exploitability(np.exp(regularised_equilibrium(game, game.log_start, 1e-7))) < 1e-6
