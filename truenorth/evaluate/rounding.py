"""A few held-out pairs in float32 beside the run's own precision: whether its margins are more than rounding.

bfloat16 rounds weights and activations to 8 bits, and the log-prob of an answer is off by some hundredths of a nat.
Part of it is the same for policy and reference and cancels in a margin; what is left does not shrink with the margin.
So the policy is scored in both precisions at its start, which is the reference, and at its end.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ..data.loader import batches
from ..data.packing import PackedBatch
from ..data.tokens import TokenizedRows
from ..models.policy import Policy
from ..models.references import Moving, starts_as_policy
from ..models.storage import float32_products
from ..recipe import Recipe
from ..train.rounding import Rounding
from ..types import Candidates, LogProbs

ROWS = 16  # where bfloat16 is ten times faster, both passes in float32 take as long as training on 100 rows
Totals = Sequence[Sequence[float]]  # [K] nats of each row's answers


def tells(recipe: Recipe) -> bool:
    """Whether margins are a matter of the policy, its start and the answers' log-probs alone."""
    objective, references = recipe.objective, recipe.references.values()
    whole = objective.score_head is None and "tokens" not in objective.reads
    return whole and all(starts_as_policy(one) and not isinstance(one, Moving) for one in references)


@torch.no_grad()
def totals(policy: Policy, rows: TokenizedRows, *, budget: int) -> dict[str, Totals]:
    """The first rows' answers in the policy's own precision and in float32."""
    found = {policy.precision: _totals(policy, rows, budget)}
    with float32_products():  # of frozen weights that are stored rounded
        return found | {"float32": _totals(policy.in_float32(), rows, budget)}


def rounding(
    recipe: Recipe, rows: TokenizedRows, *, start: Mapping[str, Totals], end: Mapping[str, Totals]
) -> Rounding | None:
    """What `totals` at the start and at the end say of the margins. None where rows have one answer each."""
    precision = next(name for name in end if name != "float32")
    own, fine = (_margins(recipe, rows, start[name], end[name]) for name in (precision, "float32"))
    if not len(fine):
        return None
    return Rounding(
        precision,
        pairs=len(fine),
        margin=float(fine.abs().median()),
        difference=float((own - fine).abs().median()),
        changed=int((own.sign() != fine.sign()).sum()),
        right=float(0.5 * (1 + own.sign()).mean()),
        right_in_float32=float(0.5 * (1 + fine.sign()).mean()),
    )


def _totals(policy: Policy, rows: TokenizedRows, budget: int) -> Totals:
    found = dict[int, list[float]]()
    for batch in _first(rows, budget):
        found |= zip(batch.rows, policy.log_probs(batch).total.tolist(), strict=True)
    return [found[row] for row in sorted(found)]


def _margins(recipe: Recipe, rows: TokenizedRows, start: Totals, end: Totals) -> Tensor:
    """[pairs] the best answer's implicit reward less each other one's."""
    found = [torch.zeros(0)]
    for batch in _first(rows, int(rows.lengths.max())):
        reference = _log_probs(start, batch)
        candidates = Candidates(
            _log_probs(end, batch),
            dict.fromkeys(recipe.references, reference),
            rewards=batch.rewards,
            wins=batch.wins,
            columns=batch.columns,
        )
        rewards = recipe.objective.implicit_rewards(candidates)
        found.append((rewards[:, :1] - rewards[:, 1:]).flatten())
    return torch.cat(found)


def _log_probs(of_rows: Totals, batch: PackedBatch) -> LogProbs:
    return LogProbs(torch.tensor([of_rows[row] for row in batch.rows]), batch.length)


def _first(rows: TokenizedRows, budget: int) -> Iterable[PackedBatch]:
    """Their batches, each of rows with as many answers."""
    return batches(rows, range(min(ROWS, len(rows))), budget=budget)
