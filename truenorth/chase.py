"""Two modules that chase each other on one frozen base. What a paper says of them, without torch."""

from typing import Literal

from pydantic import PositiveFloat

from .settings import Settings, setting


class Chase(Settings):
    """Two adapters, equal at the start, learn from every batch: one at the whole learning rate, one at a share of it.

    One of them is in the fast role, the other in the slow one: each has a loss of its own, and sees the other, held
    constant, as the reference `peer`. Every `interval` steps the module whose mean loss (without what ties it to its
    peer) was lower over these steps leads from then on:

        roles    it takes the fast role; learning rates stay where they are
        rates    it takes the fast role, and the whole learning rate with it
        weights  both exchange their weights, so that the leader is always the first one; the optimizers' moments stay
    """

    speed_ratio: float = setting(0.3, "slow learning rate over the fast one", source="ours", gt=0, le=1)
    interval: int = setting(20, "steps between two comparisons of the modules", source="ours", ge=1)
    swap: Literal["roles", "rates", "weights"] = setting(
        "roles", "what is exchanged where the slow module has the lower loss", source="ours"
    )
    deployed: Literal["fast", "best"] = setting(
        "fast",
        "the result: the fast role's at the end, or the better on held-out rows",
        source="ours",
    )
    stop_at_margin: PositiveFloat | None = setting(
        30.0,
        "mean reward margin of a step at which the run is stopped, as one that runs away; none: never",
        source="ours",
    )
