"""What a mixture of adapters makes of a domain's rows: its loss, with a gradient, and which answers it prefers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data.cache import cache_folder
from ..data.loader import batches
from ..data.packing import PackedBatch
from ..data.tokens import TokenizedRows
from ..models.policy import Policy, fine_precision
from ..models.references import Frozen, Reference, starts_as_policy
from ..models.scored_references import Scores, Start, score_references
from ..players import player_of
from ..processes import ALONE
from ..recipe import Recipe
from ..train.metrics import per_prompt
from ..train.step import Player, score, summary_of
from ..types import Candidates, LogProbs
from .mixture import Mixture

TOKENS_AT_ONCE = 4096  # of a forward and backward pass


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows in micro-batches, and what the references say of them, which is asked once."""

    batches: list[PackedBatch]
    references: Mapping[str, Scores]


class Scorer:
    """Scores rows by a mixture, as the method's objective does, of one module. The mixture must be at ratios of 0."""

    def __init__(self, recipe: Recipe, mixture: Mixture, base: str, *, trust_remote_code: bool = False) -> None:
        self.mixture = mixture
        device = next(mixture.model.parameters()).device
        self.policy = Policy.of(mixture.model, fine_precision(device))
        self.player: Player = player_of(recipe, self.policy)
        self._recipe, self._device = recipe, device
        asked = recipe.objective.of_references
        self._start = Start(self.policy, base, cache_folder(), TOKENS_AT_ONCE, trust_remote_code, asked=asked)

    def rows(self, rows: TokenizedRows) -> Scored:
        """`rows` ready to be scored. To be called at ratios of 0, when the policy is its own start."""
        references = {name: at_start(reference) for name, reference in self._recipe.references.items()}
        [scores] = score_references(references, self._start, [(rows, range(len(rows)))])
        packed = [b.to(self._device) for b in batches(rows, range(len(rows)), budget=TOKENS_AT_ONCE)]
        return Scored(packed, {name: _remembering(found) for name, found in scores.items()})

    def losses(self, rows: Scored) -> Iterator[Tensor]:
        """The mean loss over the rows, by weight, in parts, one a micro-batch, each with its own graph."""
        weights = [
            batch.columns.get("weight", torch.ones(batch.prompts, device=self._device)) for batch in rows.batches
        ]
        whole = float(torch.cat(weights).sum()) or 1.0
        for (_, candidates), own in zip(self._candidates(rows), weights, strict=True):
            yield (self.player.objective(candidates) * own).sum() / whole

    @torch.no_grad()
    def accuracies(self, rows: Scored) -> list[float]:
        """Of each row the share of its rejected answers that the chosen beats by implicit reward; ties are half."""
        found = dict[int, float]()
        for batch, candidates in self._candidates(rows):
            own = per_prompt(candidates, self.player.objective(candidates), self.player.objective)[
                "rewards/accuracies"
            ]
            found |= dict(zip(batch.rows, own.tolist(), strict=True))
        return [found[row] for row in sorted(found)]

    def _candidates(self, rows: Scored) -> Iterator[tuple[PackedBatch, Candidates]]:
        summary = summary_of([self.player], rows.batches, rows.references, 0, ALONE)
        for batch in rows.batches:
            yield batch, replace(score([self.player], batch, rows.references)[0], step=summary)


def at_start(reference: Reference) -> Reference:
    """What a reference is before the first step; the policy's own start is scored by the model in memory.

    In the same batches: where the policy is its start still, its log-ratios are 0 to the bit.
    """
    return Frozen() if starts_as_policy(reference) else reference


def _remembering(scores: Scores) -> Scores:
    """The same, each batch scored once; batches are told apart by their rows."""
    known = dict[tuple[int, ...], LogProbs]()

    def of(batch: PackedBatch) -> LogProbs:
        if batch.rows not in known:
            known[batch.rows] = scores(batch).detach()
        return known[batch.rows]

    return of
