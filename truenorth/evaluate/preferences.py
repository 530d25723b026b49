"""How well a policy tells better answers from worse ones on held-out rows."""

import math
from collections.abc import Mapping, Sequence
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


def held_out(
    player: Player, rows: TokenizedRows, references: Mapping[str, Scores], *, budget: int, group: Group = ALONE
) -> dict[str, float]:
    """`each_held_out` of a player alone."""
    return each_held_out([player], rows, references, budget=budget, group=group)[0]


@torch.no_grad()
def each_held_out(
    players: Sequence[Player],
    rows: TokenizedRows,
    references: Mapping[str, Scores],
    *,
    budget: int,
    group: Group = ALONE,
) -> list[dict[str, float]]:
    """For each player the means of all metrics over `rows`, with `rewards/accuracies/low` and `/high`, a 95 %
    interval, and `count`. Of a judge that is trained, how well it is calibrated.

    An objective that couples rows sees all of `rows` as one step, for which they are scored once more. The processes
    of `group` share the rows out; each gets the means over all.
    """
    metrics, pairs = [Metrics() for _ in players], [PairsOfJudge() for _ in players]
    device = players[0].parameters[0].device
    packed = partial(batches, rows, range(len(rows)), budget=budget, part=group.rank, parts=group.size)
    summaries = [summary_of(players, packed(), references, p, group) for p in range(len(players))]
    for batch in packed():
        scored = score(players, batch.to(device), references)
        if batch.filler:
            continue
        for player, found, summary, metric, pair in zip(players, scored, summaries, metrics, pairs, strict=True):
            candidates = replace(found, step=summary)
            metric.add(candidates, player.objective(candidates), player.objective)
            pair.add(candidates, player.objective)
    return [_means(metric.over(group), pair.measures(group)) for metric, pair in zip(metrics, pairs, strict=True)]


def _means(metrics: Metrics, judged: Mapping[str, float]) -> dict[str, float]:
    means = metrics.means() | {"count": float(metrics.prompts)} | dict(judged)  # rows of weight 0 do not count
    if (accuracy := means.get("rewards/accuracies")) is not None and not math.isnan(accuracy):
        low, high = wilson(accuracy * metrics.trials, metrics.trials)
        means |= {"rewards/accuracies/low": low, "rewards/accuracies/high": high}
    return means
