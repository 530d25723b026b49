"""Two players that chase each other: which one is in the fast role, step by step. What is told of it, and its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..chase import Chase
from ..errors import NumericsError
from .step import Player

BASE, MARGIN = "loss/base", "rewards/margins"  # what is read of a step's metrics


@dataclass(frozen=True, slots=True)
class Standing:
    """Who is in the fast role, and what the interval has added up so far. In every checkpoint."""

    fast: int = 0  # place among the players
    steps: int = 0  # of the interval
    losses: tuple[float, float] = (0.0, 0.0)  # sums over these steps of each player's mean base loss

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> "Standing":
        """As JSON gives it back."""
        first, second = saved.get("losses", (0.0, 0.0))
        return cls(saved.get("fast", 0), saved.get("steps", 0), (first, second))


START = Standing()


def arranged(players: Sequence[Player], chase: Chase, standing: Standing) -> Sequence[Player]:
    """The players as they were built, the first one in the fast role, in the roles and at the rates of `standing`."""
    return players if standing.fast == 0 else _exchanged(players, rates=chase.swap == "rates")


def after_step(
    players: Sequence[Player], chase: Chase, standing: Standing, means: Sequence[Mapping[str, float]]
) -> tuple[Sequence[Player], Standing, dict[str, float]]:
    """Players and standing after a step with these metrics of each player, and what is logged of it.

    chase/fast     place of the player that was in the fast role
    chase/gap      margin of the fast role less that of the slow one
    chase/swapped  at the end of an interval: 1 where both have exchanged something, else 0
    """
    fast, slow = standing.fast, 1 - standing.fast
    told = {"chase/fast": float(fast), "chase/gap": means[fast][MARGIN] - means[slow][MARGIN]}
    losses = (standing.losses[0] + means[0][BASE], standing.losses[1] + means[1][BASE])
    if standing.steps + 1 < chase.interval:
        return players, Standing(fast, standing.steps + 1, losses), told
    swapped = losses[slow] < losses[fast]
    told["chase/swapped"] = float(swapped)
    if not swapped:
        return players, Standing(fast), told
    if chase.swap == "weights":
        _exchange_weights(players)
        return players, Standing(fast), told
    return _exchanged(players, rates=chase.swap == "rates"), Standing(slow), told


def refuse_running_away(chase: Chase, means: Sequence[Mapping[str, float]], step: int) -> None:
    """Raise NumericsError where a player's mean margin is past the limit: the slow loss has no lower end."""
    margins = [mean[MARGIN] for mean in means]
    if chase.stop_at_margin is None or max(margins) <= chase.stop_at_margin:
        return
    raise NumericsError(
        f"step {step}: the margins run away: {margins[0]:.3g} of the first module, {margins[1]:.3g} of the second, "
        f"and a run stops at {chase.stop_at_margin:g} (chase.stop_at_margin). Every pair was told apart long before; "
        "what still grows is the distance from the reference. Where L_FS is not clamped, the slow module's loss has "
        "no lower end; and at too high a learning rate no loss holds a module. Start anew with --set clamp=10, a "
        f"smaller alpha, a lower --learning-rate, or fewer steps (--max-steps {max(1, step // 2)}). The newest "
        "checkpoint is from before this step; --resume would run away again."
    )


def _exchanged(players: Sequence[Player], *, rates: bool) -> list[Player]:
    first, second = players
    if rates:
        for one, other in zip(first.optimizer.param_groups, second.optimizer.param_groups, strict=True):
            one["rate_scale"], other["rate_scale"] = other.get("rate_scale", 1.0), one.get("rate_scale", 1.0)
    return [replace(first, objective=second.objective), replace(second, objective=first.objective)]


@torch.no_grad()
def _exchange_weights(players: Sequence[Player]) -> None:
    first, second = players
    for name, parameter in first.named_parameters.items():
        other = second.named_parameters[name]
        kept = parameter.clone()
        parameter.copy_(other)
        other.copy_(kept)
