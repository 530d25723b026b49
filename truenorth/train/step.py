"""One optimizer step: the function to read first."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from ..data.packing import PackedBatch
from ..errors import NumericsError
from ..models.gradients import gradient_norm, reduce_gradients
from ..models.moving import Follower
from ..models.sharding import local
from ..models.token_kl import token_kl
from ..processes import ALONE, Group
from ..recipe import PEER, Objective
from ..types import Candidates, LogProbs, StepSummary
from .metrics import Metrics, to_host

Scores = Callable[[PackedBatch], LogProbs]
Part = tuple[dict[str, Tensor], ...]  # a micro-batch's part of a summary: policy, log-ratios, columns
T = TypeVar("T")
CPU = torch.device("cpu")


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
    followers: Mapping[str, Follower] = field(default_factory=dict[str, Follower])  # references that move with it

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return list(self.named_parameters.values())


def train_step(
    players: Sequence[Player], batches: Sequence[PackedBatch], references: Mapping[str, Scores], group: Group = ALONE
) -> list[Metrics]:
    """Take one step of every player on `batches`, accumulated as if they were one; each player's metrics.

    The loss is the mean over all prompts of all batches of all processes of `group`, weighted by `columns["weight"]`,
    so how they are split does not matter. Raises NotFinite, in every process and before any optimizer is touched, if a
    loss or a gradient is not. Waits for the device once, when all but the optimizers' work is on its way.
    """
    metrics = gradients(players, batches, references, group)
    for player in players:
        player.optimizer.step()
        player.optimizer.zero_grad(set_to_none=True)
    return [metric.over(group) for metric in metrics]


def gradients(
    players: Sequence[Player], batches: Sequence[PackedBatch], references: Mapping[str, Scores], group: Group = ALONE
) -> list[Metrics]:
    """Leave `train_step`'s gradients with the parameters, clipped; this process's part of each player's metrics."""
    device = players[0].parameters[0].device
    weight = sum(group.gather(_total_weight(batches)))
    weight = weight or 1.0  # rows that all weigh nothing: a loss and a gradient of 0
    batches = [batch.to(device) for batch in batches]
    metrics = [Metrics() for _ in players]
    summaries = [summary_of(players, batches, references, p, group) for p in range(len(players))]
    checked: list[tuple[PackedBatch, Tensor]] = []  # with [players, B] losses
    for batch in batches:
        total, found = torch.zeros((), device=device), list[Tensor]()
        scored = score(players, batch, references)
        if batch.filler:
            torch.stack([0.0 * candidates.policy.total.sum() for candidates in scored]).sum().backward()
            continue
        for player, candidates, summary, metric in zip(players, scored, summaries, metrics, strict=True):
            losses = player.objective(replace(candidates, step=summary))  # [B]
            total = total + (losses * _weights(batch)).sum() / weight
            found.append(losses.detach())
            metric.add(candidates, losses, player.objective)
        total.backward()
        checked.append((batch, torch.stack(found)))
    for player, metric in zip(players, metrics, strict=True):
        reduce_gradients(player.parameters, group)
        metric.grad_norm = clip(player.parameters, player.max_grad_norm)
    losses = to_host(metrics, [found for _, found in checked])
    rows = [row for batch, _ in checked for row in batch.rows]
    _refuse_not_finite(rows, losses, metrics, group)
    return metrics


def score(players: Sequence[Player], batch: PackedBatch, references: Mapping[str, Scores]) -> list[Candidates]:
    """The waist: what each player's objective sees of `batch`, references detached. Its peer is the next player."""
    frozen = {name: log_probs(batch).detach() for name, log_probs in references.items()}
    live = [player.log_probs(batch) for player in players]
    scored: list[Candidates] = []
    for i, policy in enumerate(live):
        peers = {PEER: live[(i + 1) % len(live)].detach()} if len(live) > 1 else {}
        candidates = Candidates(
            policy,
            frozen | peers,
            rewards=batch.rewards,
            wins=batch.wins,
            columns=batch.columns,
            token_kl=token_kls(players[i].objective, policy, frozen, batch),
            degrees=policy.degrees,
        )
        scored.append(_with_sample(players[i].objective, candidates))
    return scored


def _with_sample(objective: Objective, candidates: Candidates) -> Candidates:
    """The responses behind the most that an objective compares are its sample; held-out rows have none."""
    compared = candidates.policy.total.shape[1] if objective.sample is None else objective.candidates[1]
    assert compared is not None, "a recipe refuses a sample beside any number of answers"
    return candidates if compared == candidates.policy.total.shape[1] else candidates.with_sample(compared)


def token_kls(
    objective: Objective, policy: LogProbs, references: Mapping[str, LogProbs], batch: PackedBatch
) -> dict[str, Tensor]:
    """[B, K] nats from each reference, for an objective that reads them."""
    if "token_kl" not in objective.reads:
        return {}
    return {name: token_kl(policy, references[name], batch) for name in objective.references}


def clip(parameters: Sequence[torch.nn.Parameter], max_norm: float | None) -> Tensor:
    """The L2 norm of all gradients, before scaling them to at most `max_norm`."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = gradient_norm(gradients)
    if max_norm is not None:
        scale = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
        for gradient in map(local, gradients):
            gradient.mul_(scale.to(gradient.dtype))
    return norm


def _total_weight(batches: Sequence[PackedBatch]) -> float:
    """Before the batches move: no wait for the device."""
    return sum(float(_weights(batch).sum()) for batch in batches if not batch.filler)


def _weights(batch: PackedBatch) -> Tensor:
    """[B] what each prompt counts, 1 where the data does not say."""
    return batch.columns.get("weight", torch.ones(batch.prompts, device=batch.length.device))


@torch.no_grad()
def summary_of(
    players: Sequence[Player],
    batches: Iterable[PackedBatch],
    references: Mapping[str, Scores],
    player: int,
    group: Group,
) -> StepSummary | None:
    """All of `batches` without gradients, for an objective that couples rows; None for all others.

    Rows of weight 0 are left out, and every row has its `columns["weight"]`.
    """
    if players[player].objective.scope != "step":
        return None
    device = players[player].parameters[0].device
    parts = list[Part]()
    for batch in (batch.to(device) for batch in batches):
        scored = score(players, batch, references)[player]
        if not batch.filler:
            ratios = {name: scored.log_ratio(name) for name in scored.references}
            parts.append(({"policy": scored.policy.total}, ratios, {**scored.columns, "weight": _weights(batch)}))
    if group.size > 1:
        parts = [_moved(part, device) for found in group.gather([_moved(p, CPU) for p in parts]) for part in found]
    weight = torch.cat([columns["weight"] for *_, columns in parts])
    kept = (weight > 0) | ~weight.any()  # rows that all weigh nothing stay, so that their loss is a number

    def joined(found: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        everywhere = set(found[0]).intersection(*found)
        return {name: torch.cat([tensors[name] for tensors in found])[kept] for name in everywhere}

    policy, ratios, columns = (joined(found) for found in zip(*parts, strict=True))
    return StepSummary(policy["policy"], ratios, columns)


def _refuse_not_finite(
    rows: Sequence[int], losses: Sequence[Tensor], metrics: Sequence[Metrics], group: Group
) -> None:
    """Raise NotFinite, in every process, with the rows whose loss is no number, or with all where only a norm is none.

    `losses` are [players, B] of each micro-batch, on the host like the metrics.
    """
    found = list[tuple[int, float]]()  # rows and their losses
    if losses:
        all_losses = torch.cat(list(losses), dim=1)  # [players, prompts of the step]
        worst = torch.where(torch.isfinite(all_losses), 0.0, all_losses).sum(0).tolist()
        found = [(row, value) for row, value in zip(rows, worst, strict=True) if value != 0]
    if broken := _together(found, group):
        raise NotFinite(f"the loss is {broken[0][1]}", tuple(row for row, _ in broken))
    for norm in (metric.grad_norm for metric in metrics):
        if norm is not None and not torch.isfinite(norm):  # the same norm in every process
            raise NotFinite(f"the gradient's norm is {float(norm)}, the losses are finite", _together(rows, group))


def _together(found: Sequence[T], group: Group) -> tuple[T, ...]:
    """What all processes have found, by rank."""
    return tuple(one for part in group.gather(list(found)) for one in part)


def _moved(part: Part, device: torch.device) -> Part:
    return tuple({name: tensor.to(device) for name, tensor in tensors.items()} for tensors in part)
