"""How well a policy tells better answers from worse ones on held-out rows."""

import math
from collections.abc import Mapping

import torch

from ..data.loader import batches
from ..data.tokens import TokenizedRows
from ..train.metrics import Metrics
from ..train.step import Player, Scores, score
from .intervals import proportion


@torch.no_grad()
def held_out(
    player: Player, rows: TokenizedRows, references: Mapping[str, Scores], *, budget: int
) -> dict[str, float]:
    """Means of all metrics over `rows`, with `rewards/accuracies/low` and `/high`, a 95 % interval, and `count`."""
    metrics = Metrics()
    device = player.parameters[0].device
    for batch in batches(rows, range(len(rows)), budget=budget):
        candidates = score([player], batch.to(device), references)[0]
        metrics.add(candidates, player.objective(candidates), player.objective)
    means = metrics.means() | {"count": float(metrics.prompts)}
    if (accuracy := means.get("rewards/accuracies")) is not None and not math.isnan(accuracy):
        interval = proportion(accuracy * metrics.prompts, metrics.prompts)
        means |= {"rewards/accuracies/low": interval.low, "rewards/accuracies/high": interval.high}
    return means
