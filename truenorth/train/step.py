"""One optimizer step: the function to read first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data.packing import PackedBatch
from ..errors import NumericsError
from ..recipe import Objective
from ..types import Candidates, LogProbs, StepSummary
from .metrics import Metrics

Scores = Callable[[PackedBatch], LogProbs]


class NotFinite(NumericsError):
    """A loss or gradient that is no number, and the places in the data of the rows it came from."""

    def __init__(self, what: str, rows: tuple[int, ...]) -> None:
        super().__init__(what)
        self.rows = rows


@dataclass(frozen=True, slots=True)
class Player:
    """One set of parameters that learns: what it scores with, what it minimises, and how it steps.

    Usually there is one. Several see each other, detached, as the reference "peer" (OFS-DPO has two).
    """

    log_probs: Scores  # with gradients
    objective: Objective
    optimizer: torch.optim.Optimizer
    named_parameters: Mapping[str, torch.nn.Parameter]  # what is trained
    max_grad_norm: float | None  # None: never clipped

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return list(self.named_parameters.values())


def train_step(
    players: Sequence[Player], batches: Sequence[PackedBatch], references: Mapping[str, Scores]
) -> list[Metrics]:
    """Take one step of every player on `batches`, accumulated as if they were one; each player's metrics.

    The loss is the mean over all prompts of all batches, weighted by `columns["weight"]`, so how they are split does
    not matter. Raises NotFinite, before any optimizer is touched, if a loss or a gradient is not.
    """
    device = players[0].parameters[0].device
    weight = sum(float(_weights(batch).sum()) for batch in batches)  # before they move: no wait for the device
    weight = weight or 1.0  # rows that all weigh nothing: a loss and a gradient of 0
    batches = [batch.to(device) for batch in batches]
    metrics = [Metrics() for _ in players]
    summaries = [_summary(players, batches, references, p) for p in range(len(players))]
    checked: list[tuple[PackedBatch, Tensor]] = []  # with [players, B] losses
    for batch in batches:
        total, found = torch.zeros((), device=device), list[Tensor]()
        scored = score(players, batch, references)
        for player, candidates, summary, metric in zip(players, scored, summaries, metrics, strict=True):
            losses = player.objective(replace(candidates, step=summary))  # [B]
            total = total + (losses * _weights(batch)).sum() / weight
            found.append(losses.detach())
            metric.add(candidates, losses, player.objective)
        total.backward()
        checked.append((batch, torch.stack(found)))
    _refuse_not_finite(checked)
    for player, metric in zip(players, metrics, strict=True):
        metric.grad_norm = clip(player.parameters, player.max_grad_norm)
        if not torch.isfinite(metric.grad_norm):
            rows = tuple(row for batch in batches for row in batch.rows)
            raise NotFinite(f"the gradient's norm is {float(metric.grad_norm)}, the losses are finite", rows)
    for player in players:
        player.optimizer.step()
        player.optimizer.zero_grad(set_to_none=True)
    return metrics


def score(players: Sequence[Player], batch: PackedBatch, references: Mapping[str, Scores]) -> list[Candidates]:
    """The waist: what each player's objective sees of `batch`. Player i's peer is the next one, detached."""
    frozen = {name: log_probs(batch) for name, log_probs in references.items()}
    live = [player.log_probs(batch) for player in players]
    scored: list[Candidates] = []
    for i, policy in enumerate(live):
        peers = {"peer": live[(i + 1) % len(live)].detach()} if len(live) > 1 else {}
        scored.append(Candidates(policy, frozen | peers, rewards=batch.rewards, columns=batch.columns))
    return scored


def clip(parameters: Sequence[torch.nn.Parameter], max_norm: float | None) -> Tensor:
    """The L2 norm of all gradients, before scaling them to at most `max_norm`."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g, dtype=torch.float32) for g in gradients]))
    if max_norm is not None:
        scale = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
        for gradient in gradients:
            gradient.mul_(scale.to(gradient.dtype))
    return norm


def _weights(batch: PackedBatch) -> Tensor:
    """[B] what each prompt counts, 1 where the data does not say."""
    return batch.columns.get("weight", torch.ones(batch.prompts, device=batch.length.device))


@torch.no_grad()
def _summary(
    players: Sequence[Player], batches: Sequence[PackedBatch], references: Mapping[str, Scores], player: int
) -> StepSummary | None:
    """The whole step without gradients, for an objective that couples rows; None for all others."""
    if players[player].objective.scope != "step":
        return None
    scored = [score(players, batch, references)[player] for batch in batches]
    names = scored[0].references
    columns = set(scored[0].columns).intersection(*(one.columns for one in scored))
    return StepSummary(
        log_ratio={name: torch.cat([one.log_ratio(name) for one in scored]) for name in names},
        columns={name: torch.cat([one.columns[name] for one in scored]) for name in columns},
    )


def _refuse_not_finite(checked: Sequence[tuple[PackedBatch, Tensor]]) -> None:
    """Raise NotFinite with the rows whose loss is no number. Waits for the device, once."""
    losses = torch.cat([found for _, found in checked], dim=1)  # [players, prompts of the step]
    rows = [row for batch, _ in checked for row in batch.rows]
    broken = (~torch.isfinite(losses)).any(0).tolist()
    if any(broken):
        value = float(losses[~torch.isfinite(losses)][0])
        raise NotFinite(f"the loss is {value}", tuple(row for row, bad in zip(rows, broken, strict=True) if bad))
