"""Step sizes that theory allows, and those that it does not."""

from ...errors import SettingsError
from ..game import Game


def magnetic_eta(game: Game, alpha: float) -> float:
    """alpha / L^2, the largest step for which magnetic mirror descent is known to contract; L = max |P - 1/2|."""
    return alpha / game.smoothness**2 if game.smoothness else 1.0


def mirror_eta(game: Game, alpha: float) -> float:
    """The same for mirror descent on rewards that hold the pull: eta / (1 + eta alpha) = alpha / (L^2 + alpha^2)."""
    eta = magnetic_eta(game, alpha)
    return eta / (1 + eta * alpha)


def refuse_no_step(name: str, alpha: float, eta: float | None) -> None:
    """Raise SettingsError where alpha is 0 and no eta is given: the default step would be 0 too."""
    if alpha == 0 and eta is None:
        raise SettingsError(f"{name} at alpha = 0 has no step size of its own: give eta, for instance eta=0.1.")


def refuse_overshoot(name: str, alpha: float, eta: float | None) -> None:
    """Raise SettingsError where eta * alpha exceeds 1: the policy would be thrown past the magnet."""
    if eta is not None and eta * alpha > 1:
        raise SettingsError(
            f"{name}'s eta * alpha must be at most 1, got {eta:g} * {alpha:g}: past 1 the magnet is overshot. "
            "Lower eta."
        )
