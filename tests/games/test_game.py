"""What a game is, what is none, and exploitability by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.games.strategies import games, log_policies
from truenorth.errors import DataError, SettingsError
from truenorth.games import Game, game_of
from truenorth.games.policies import geometric, kl, log_policy, normalised


def test_exploitability_by_hand() -> None:
    # against (1/2, 1/2, 0): a wins 0.3 of the time, b 0.7, c 0.55
    assert game_of("cyclic").exploitability(np.array([0.5, 0.5, 0])) == pytest.approx(0.2, abs=1e-15)


@given(st.data())
def test_exploitability_is_the_best_of_all_policies_not_only_of_single_answers(data: st.DataObject) -> None:
    game = data.draw(games())
    first, second = (np.exp(data.draw(log_policies(game.size))) for _ in range(2))
    assert second @ game.wins @ first - 0.5 <= game.exploitability(first) + 1e-15


@given(st.data())
def test_the_duality_gap_of_a_policy_against_itself_is_twice_its_exploitability(data: st.DataObject) -> None:
    game = data.draw(games())
    policy = np.exp(data.draw(log_policies(game.size)))
    assert game.duality_gap(policy, policy) == 2 * game.exploitability(policy)


@given(st.data())
def test_a_policy_wins_half_of_the_time_against_itself(data: st.DataObject) -> None:
    game = data.draw(games())
    log_pi = data.draw(log_policies(game.size))
    assert np.exp(log_pi) @ game.win_rates(log_pi) == pytest.approx(0.5, abs=1e-15)


def test_a_table_with_few_digits_becomes_a_game_to_the_bit() -> None:
    game = Game(np.array([[0.5, 0.333333], [0.666667001, 0.5]]))
    assert (game.payoff == -game.payoff.T).all()
    assert game.wins[0, 1] + game.wins[1, 0] == 1


@pytest.mark.parametrize(
    ("wins", "said"),
    [
        ([[0.5, 0.5]], "square table of 2 actions or more, got 1 x 2"),
        ([[0.5]], "square table of 2 actions or more, got 1 x 1"),
        (0.5, "got a single number"),
        ([[0.5, 1.2], [-0.2, 0.5]], "row 1, column 2 is 1.2, not a probability in [0, 1]."),
        ([[0.5, float("nan")], [0.4, 0.5]], "row 1, column 2 is nan, not a probability"),
        ([[0, 0.4], [-0.4, 0]], "add 1/2"),
        ([[0.5, 0.4], [0.5, 0.5]], "row 1, column 2 is 0.4 and row 2, column 1 is 0.5; they must add up to 1."),
        ([[1.0, 0.4], [0.6, 0.5]], "row 1, column 1 is 1; an action against itself must have 0.5."),
    ],
)
def test_what_is_no_game_is_refused_with_its_place(wins: object, said: str) -> None:
    with pytest.raises(DataError) as refused:
        Game(np.array(wins), "mine")
    assert said in str(refused.value)
    assert str(refused.value).startswith("mine: ")


def test_names_that_do_not_tell_answers_apart_are_refused() -> None:
    with pytest.raises(DataError, match="2 actions need as many different names"):
        Game(np.full((2, 2), 0.5), actions=("a", "a"))
    with pytest.raises(DataError, match="2 actions need as many different names"):
        Game(np.full((2, 2), 0.5), actions=("a", "a", "b"))


@pytest.mark.parametrize("start", [[0.5, 0.5], [0.5, 0.5, 0.0], [1.0, -1.0, 1.0], [1.0, float("inf"), 1.0]])
def test_a_start_without_every_action_is_refused(start: list[float]) -> None:
    with pytest.raises(SettingsError, match="a start needs a number"):
        log_policy(start, 3)


def test_log_space_keeps_what_a_float_cannot_hold() -> None:
    far = normalised(np.array([0.0, -1e6, -2e6]))
    assert far.tolist() == [0.0, -1e6, -2e6]
    assert kl(far, far) == 0
    assert geometric(far, np.log(np.full(3, 1 / 3)), 0.5)[1] == pytest.approx(-5e5)


@given(log_policies(4), log_policies(4), st.floats(0, 1))
def test_a_mixture_lies_between_in_every_log_ratio(first: np.ndarray, second: np.ndarray, share: float) -> None:
    mixed = geometric(first, second, share)
    expected = (1 - share) * (first - first[0]) + share * (second - second[0])
    np.testing.assert_allclose(mixed - mixed[0], expected, atol=1e-12)
    assert np.exp(mixed).sum() == pytest.approx(1, abs=1e-14)


@given(log_policies(4), log_policies(4))
def test_kl_is_not_negative_and_zero_of_a_policy_itself(first: np.ndarray, second: np.ndarray) -> None:
    assert kl(first, second) >= -1e-15
    assert kl(first, first) == 0
