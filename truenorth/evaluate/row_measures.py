"""What a model makes of held-out rows, a number for each: which answer it finds likelier, how likely a text is to it.

Numbers of rows, and not their means alone, because two models are told apart by what changes on the same rows.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from ..data.loader import batches
from ..data.tokens import TokenizedRow, TokenizedRows
from ..models.policy import Policy

TOKENS_AT_ONCE = 8192  # per forward pass

Numbers = dict[str, list[float]]  # measure -> a number for each row


def ranked(policy: Policy, rows: TokenizedRows) -> Numbers:
    """Of rows with two or more ranked answers, over the pairs of which one is better.

    `accuracy` is the share in which the better one is likelier, half a pair where both are alike; `margin` the mean
    difference of their log-probs, nats. From one model to another the margin changes by that of the log-ratio, which
    DPO's implicit reward is, over beta.
    """
    found: Numbers = {"accuracy": [], "margin": []}
    for row, (total, _) in zip(rows, _log_probs(policy, rows), strict=True):
        margins = torch.stack([total[better] - total[worse] for better, worse in _pairs(row)])
        found["accuracy"].append(float((0.5 * (margins.sign() + 1)).mean()))
        found["margin"].append(float(margins.mean()))
    return found


def likelihoods(policy: Policy, rows: TokenizedRows) -> Numbers:
    """Of rows with one answer, or one text, `ability`: its log-prob over its tokens, nats per token."""
    return {"ability": [float(total[0] / length[0]) for total, length in _log_probs(policy, rows)]}


@torch.no_grad()
def _log_probs(policy: Policy, rows: TokenizedRows) -> list[tuple[Tensor, Tensor]]:
    """[K] float64 nats and lengths in tokens of each row."""
    found = dict[int, tuple[Tensor, Tensor]]()
    for batch in batches(rows, range(len(rows)), budget=TOKENS_AT_ONCE):
        scored = policy.log_probs(batch)
        found |= dict(zip(batch.rows, zip(scored.total.double().cpu(), scored.length.cpu(), strict=True), strict=True))
    return [found[place] for place in range(len(rows))]


def _pairs(row: TokenizedRow) -> Sequence[tuple[int, int]]:
    """Places of a better and a worse answer: those with other scores, or without scores all, best first."""
    scores = row.scores or range(len(row.responses), 0, -1)
    return [(i, j) for i, j in combinations(range(len(row.responses)), 2) if scores[i] > scores[j]]
