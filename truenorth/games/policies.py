"""Policies as log-probabilities of a few actions: normalised, mixed and compared without leaving log space."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError

Floats = NDArray[np.float64]


def normalised(log_weights: Floats) -> Floats:
    """[A] -> [A] nats: the log-probabilities proportional to the exponentials of `log_weights`.

    >>> np.exp(normalised(np.array([0.0, np.log(3.0)]))).round(12)
    array([0.25, 0.75])
    """
    high = log_weights.max()
    return log_weights - (high + np.log(np.exp(log_weights - high).sum()))


def geometric(first: Floats, second: Floats, share: float) -> Floats:
    """[A], [A] nats -> [A] nats: the policy proportional to first^(1-share) * second^share."""
    return normalised((1 - share) * first + share * second)


def kl(first: Floats, second: Floats) -> float:
    """[A], [A] nats -> nats: KL(first || second). An action that `first` never takes counts nothing."""
    taken = np.isfinite(first)
    return float(np.exp(first[taken]) @ (first - second)[taken])


def log_policy(probabilities: Sequence[float] | Floats, actions: int) -> Floats:
    """[A] nats from probabilities that are all above 0, divided by their sum. Raises SettingsError for others.

    >>> log_policy([0.5, 0.0], 2)
    Traceback (most recent call last):
    ...
    truenorth.errors.SettingsError: a start needs a number above 0 for each action, got [0.5, 0.0]: an action at 0 \
stays at 0 for ever.
    """
    found = np.asarray(probabilities, dtype=np.float64)
    if found.shape != (actions,):
        raise SettingsError(f"a start needs a number for each of the {actions} actions, got {found.tolist()}.")
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise SettingsError(
            f"a start needs a number above 0 for each action, got {found.tolist()}: "
            "an action at 0 stays at 0 for ever."
        )
    return np.log(found / found.sum())
