"""How well a policy tells better answers from worse ones on held-out rows."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch

from ..data.loader import batches
from ..data.tokens import TokenizedRows
from ..processes import ALONE, Group
from ..proportions import wilson
from ..train.metrics import Metrics
from ..train.step import Player, Scores, score, summary_of
from .calibration import PairsOfJudge


@torch.no_grad()
def held_out(
    player: Player, rows: TokenizedRows, references: Mapping[str, Scores], *, budget: int, group: Group = ALONE
) -> dict[str, float]:
    """Means of all metrics over `rows`, with `rewards/accuracies/low` and `/high`, a 95 % interval, and `count`.
    Of a judge that is trained, how well it is calibrated.

    An objective that couples rows sees all of `rows` as one step, for which they are scored once more. The processes
    of `group` share the rows out; each gets the means over all.
    """
    metrics, pairs = Metrics(), PairsOfJudge()
    device = player.parameters[0].device
    packed = partial(batches, rows, range(len(rows)), budget=budget, part=group.rank, parts=group.size)
    summary = summary_of([player], packed(), references, 0, group)
    for batch in packed():
        candidates = replace(score([player], batch.to(device), references)[0], step=summary)
        if not batch.filler:
            metrics.add(candidates, player.objective(candidates), player.objective)
            pairs.add(candidates, player.objective)
    metrics = metrics.over(group)
    means = metrics.means() | {"count": float(metrics.prompts)}  # rows of weight 0 do not count
    means |= pairs.measures(group)
    if (accuracy := means.get("rewards/accuracies")) is not None and not math.isnan(accuracy):
        low, high = wilson(accuracy * metrics.trials, metrics.trials)
        means |= {"rewards/accuracies/low": low, "rewards/accuracies/high": high}
    return means
