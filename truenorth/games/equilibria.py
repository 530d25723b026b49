"""Exact equilibria: of the game by linear programs, of the game with a pull towards a magnet by Newton's method."""

from collections.abc import Sequence

import numpy as np

from ..errors import SettingsError
from .game import Game
from .policies import Floats, kl, normalised

FEASIBLE = 1e-10  # the tightest that the solver takes for its constraints
NEWTON_STEPS = 60
HALVINGS = 40
PRECISE = 1e-13  # largest error of the fixed point, in units of log-probability, relative where these are large


def equilibrium(game: Game) -> Floats:
    """[A] probabilities that no action beats; one of them where there are several (see `spread`).

    A linear program: the largest v such that  sum_i pi_i P_ij >= v  for all j. Its value is 1/2.
    """
    from scipy.optimize import linprog

    n = game.size
    found = linprog(  # variables: pi, v
        c=np.append(np.zeros(n), -1.0),
        A_ub=np.hstack([-game.payoff.T, np.ones((n, 1))]),
        b_ub=np.zeros(n),
        A_eq=np.append(np.ones(n), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * n + [(None, None)],
        method="highs",
        options={"primal_feasibility_tolerance": FEASIBLE, "dual_feasibility_tolerance": FEASIBLE},
    )
    assert found.status == 0, found.message  # every finite game has an equilibrium
    return _probabilities(found.x[:n])


def spread(game: Game) -> tuple[Floats, Floats]:
    """[A], [A]: the least and the greatest probability that each action has in any equilibrium.

    Equal for all actions exactly where the equilibrium is unique. Costs two linear programs an action.
    """
    from scipy.optimize import linprog

    n, ends = game.size, list[list[float]]()
    for sign in (1, -1):
        ends.append([])
        for action in range(n):
            found = linprog(
                c=sign * np.eye(n)[action],
                A_ub=game.payoff,
                b_ub=np.full(n, FEASIBLE),
                A_eq=np.ones((1, n)),
                b_eq=[1.0],
                method="highs",
            )
            assert found.status == 0, found.message
            ends[-1].append(sign * float(found.fun))
    low, high = np.clip(np.array(ends), 0, 1)
    return low, high


def regularised_equilibrium(game: Game, log_magnet: Floats, alpha: float) -> Floats:
    """[A] nats: the unique policy with  pi = magnet * exp(P pi / alpha) / Z.

    It answers itself best under a penalty of alpha * KL(pi || magnet); with an even magnet it is the quantal response
    equilibrium. Raises SettingsError unless alpha is above 0.

    Newton's method on the logarithms, from a strong pull to alpha by halves, so that each start is near.
    """
    if not alpha > 0:
        raise SettingsError(f"alpha must be above 0, got {alpha}: without a pull ask for `equilibrium`.")
    log_pi = log_magnet
    strengths = [alpha]
    while strengths[-1] < game.smoothness:
        strengths.append(2 * strengths[-1])
    for strength in reversed(strengths):
        log_pi = _newton(game, log_magnet, strength, log_pi)
    return log_pi


def implied_exploitability(log_policy: Floats, log_magnet: Floats, alpha: float) -> float:
    """The exploitability of a regularised equilibrium, from it and its magnet alone; no game is asked.

    alpha * ( max_y log(pi(y) / magnet(y)) - KL(pi || magnet) ). Of another policy it says nothing.
    """
    return alpha * (float((log_policy - log_magnet).max()) - kl(log_policy, log_magnet))


def _newton(game: Game, log_magnet: Floats, alpha: float, log_pi: Floats) -> Floats:
    """Solve  log pi - log magnet - A pi / alpha + c = 0,  sum pi = 1  for log pi and c."""
    n = game.size
    unknown = np.append(log_pi, 0.0)
    error = _error(game, log_magnet, alpha, unknown)
    for _ in range(NEWTON_STEPS):
        if abs(error).max() <= PRECISE * max(1.0, abs(unknown).max()):
            break
        pi = np.exp(unknown[:n])
        slope = np.block([[np.eye(n) - game.payoff * pi / alpha, np.ones((n, 1))], [pi, np.zeros(1)]])
        move = np.linalg.solve(slope, error)
        for halving in range(HALVINGS):  # a full step may overshoot: halve it until the error falls
            tried = unknown - move / 2**halving
            new = _error(game, log_magnet, alpha, tried)
            if new @ new < error @ error:
                break
        else:
            break  # nothing nearer: rounding
        unknown, error = tried, new
    return normalised(unknown[:n])


def _error(game: Game, log_magnet: Floats, alpha: float, unknown: Floats) -> Floats:
    log_pi, constant = unknown[:-1], unknown[-1]
    with np.errstate(over="ignore", invalid="ignore"):  # a wild step is infinite, and refused by its error
        pi = np.exp(log_pi)
        return np.append(log_pi - log_magnet - game.payoff @ pi / alpha + constant, pi.sum() - 1)


def _probabilities(found: Sequence[float] | Floats) -> Floats:
    clipped = np.clip(np.asarray(found, dtype=np.float64), 0, None)
    return clipped / clipped.sum()
