"""Ratios of adapters, each in [0, 1], by which their sum has the least loss on what is remembered of all domains."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ..ascent import LEAST, ascend, climb
from ..domains import Domains
from ..evaluate.continual import Ratios
from .scoring import Scored, Scorer

POINTS = 21  # of the grid: steps of 0.05
TRIES = 60  # mixtures that are looked at by gradient, at most


def fitted(asked: Domains, scorer: Scorer, memories: Sequence[Scored]) -> Ratios:
    """The ratios that are asked for, as they are given or by trying. The mixture has one adapter for each memory."""
    count = len(memories)
    if asked.ratios is not None:
        return Ratios(asked.ratios[:count])
    if count == 1:  # nothing to be weighed against
        return Ratios((1.0,))

    def uphill(ratios: Sequence[float]) -> tuple[float, list[float]]:
        return _uphill(scorer, memories, ratios)

    if asked.fit == "gradient" or (asked.fit is None and count > 2):
        found = climb(uphill, 1 / count, count, tries=TRIES)
        best = Ratios(_rounded(found.shares), -found.value, -found.at_start)
    else:
        assert count == 2, "a run refuses a grid for more than two domains"
        best = on_grid(lambda ratios: _loss(scorer, memories, ratios))
    ones, zeros = (_loss(scorer, memories, [ratio] * count) for ratio in (1.0, 0.0))
    best = replace(best, at_ones=ones, at_zeros=zeros)
    return best if asked.region == "simplex" else in_box(uphill, best)


def on_grid(loss: Callable[[Sequence[float]], float]) -> Ratios:
    """The best of 21 pairs of ratios; of those that are as good to rounding, the one nearest to equal.

    >>> on_grid(lambda ratios: (ratios[0] - 0.3) ** 2).ratios
    (0.3, 0.7)
    """
    pairs = [(round(k / (POINTS - 1), 9), round(1 - k / (POINTS - 1), 9)) for k in range(POINTS)]
    losses = dict(zip(pairs, map(loss, pairs), strict=True))
    least = min(losses.values())
    best = min((pair for pair in pairs if losses[pair] <= least + LEAST), key=lambda pair: abs(pair[0] - 0.5))
    return Ratios(best, losses[best], losses[0.5, 0.5])


def in_box(uphill: Callable[[Sequence[float]], tuple[float, Sequence[float]]], simplex: Ratios) -> Ratios:
    """Each ratio in [0, 1] by itself: by gradient from the best of the simplex or from all ones, whichever is better.

    So the loss is never above either's, which are known. `uphill` gives minus the loss, and its derivatives.

    >>> in_box(lambda ratios: (ratios[0] - ratios[1], [1.0, -1.0]), Ratios((0.5, 0.5), 0.0, 0.0, 0.0)).ratios
    (1.0, 0.0)
    """
    assert simplex.loss is not None, "fitted on the simplex"
    assert simplex.at_ones is not None, "and measured beside it"
    start = (1.0,) * len(simplex.ratios) if simplex.at_ones <= simplex.loss else simplex.ratios
    found = ascend(uphill, start, None, tries=TRIES)
    return replace(simplex, ratios=_rounded(found.shares), loss=-found.value)


@torch.no_grad()
def _loss(scorer: Scorer, memories: Sequence[Scored], ratios: Sequence[float]) -> float:
    scorer.mixture.mix(ratios)
    return sum(float(part) for memory in memories for part in scorer.losses(memory)) / len(memories)


def _uphill(scorer: Scorer, memories: Sequence[Scored], ratios: Sequence[float]) -> tuple[float, list[float]]:
    """Minus the loss, and its derivatives by the ratios; one micro-batch's graph is held at a time."""
    scorer.mixture.mix(ratios)
    value, slopes = 0.0, [0.0] * len(ratios)
    for part in (part for memory in memories for part in scorer.losses(memory)):
        gain = -part / len(memories)
        slopes = [a + b for a, b in zip(slopes, scorer.mixture.slopes(gain), strict=True)]
        value += float(gain.detach())
    return value, slopes


def _rounded(ratios: Sequence[float]) -> tuple[float, ...]:
    """To nine digits: a sum of 1 is still that to rounding."""
    return tuple(round(ratio, 9) for ratio in ratios)
