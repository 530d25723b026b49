"""A federated round: clients return sums of raw gradients, and the server's optimizer steps with their mean.

The momentum is the server's alone. Clients step with it as it is at the round's start, and never move it.
"""

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..clients import DRIFT, LOSS
from ..data.packing import PackedBatch
from ..models.gradients import gradient_norm, reduce_gradients
from ..processes import ALONE, Group
from .checkpoint import Progress
from .client_steps import ClientSteps
from .loop import Plan, Taken
from .metrics import Metrics
from .step import NotFinite, Player, Scores, clip, gradients


@dataclass(frozen=True, slots=True)
class Work:
    """What a client does in a round."""

    client: str
    weight: float  # of its gradients; those of all clients of the round, in all processes, add up to 1
    batches: Sequence[Sequence[PackedBatch]]  # [K] micro-batches of each local step


@dataclass(frozen=True, slots=True)
class Returned:
    """What a client tells of its round, besides its gradients."""

    client: str
    first: Mapping[str, Tensor]  # sums of the metrics of its first local step, whose weights are the server's
    prompts: int
    tokens: int
    square: float  # weight times the squared norm of its mean gradient


@dataclass(frozen=True, slots=True)
class FederatedRounds:
    """Takes a round where the loop takes a step."""

    steps: ClientSteps
    rate: float  # the clients' learning rate over the server's

    def __call__(self, players: Sequence[Player], plan: Plan, progress: Progress) -> Taken:
        """Clients are shared out over the processes; their sums do not depend on it."""
        (player,), steps, data = players, self.steps, plan.processes.data
        there = list(zip(steps.taking_part(progress.step), steps.weights(progress.step), strict=True))
        works = [
            Work(steps.clients[n].name, weight, steps.local(progress.step, n, budget=progress.budget))
            for n, weight in there[data.rank :: data.size]
        ]
        return federated_round(player, works, plan.references, rate=self.rate, group=data)


def federated_round(
    player: Player, works: Sequence[Work], references: Mapping[str, Scores], *, rate: float = 1.0, group: Group = ALONE
) -> Taken:
    """Let every client of `works` take K local steps, then the player's optimizer K steps with their mean gradient.

    `rate` is the clients' learning rate over that of the optimizer. Each step moves by a clipped gradient, and clients
    return raw ones. Processes of `group` have clients of their own, and end with the same weights. Raises NotFinite in
    every process, with the weights as they were.
    """
    local_steps = max(group.gather(max((len(work.batches) for work in works), default=1)))
    mean, found, problem = list[Tensor | None](), list[Returned](), None
    with _kept(player, moved=local_steps > 1) as server:
        try:
            for work in works:
                returned, own = _local(player, work, references, server=server, rate=rate)
                found.append(returned)
                mean = _added(mean, own, work.weight)
        except NotFinite as error:
            problem = (str(error), error.rows)
    if problems := [one for one in group.gather(problem) if one is not None]:
        raise NotFinite(problems[0][0], tuple(row for _, rows in problems for row in rows))
    for parameter, gradient in zip(player.parameters, mean, strict=bool(mean)):
        parameter.grad = gradient
    reduce_gradients(player.parameters, group)
    norm = clip(player.parameters, player.max_grad_norm)
    if not torch.isfinite(norm):
        rows = tuple(row for work in works for step in work.batches for batch in step for row in batch.rows)
        raise NotFinite(f"the norm of the clients' mean gradient is {float(norm)}", rows)
    for _ in range(local_steps):
        player.optimizer.step()
    player.optimizer.zero_grad(set_to_none=True)
    return _taken([one for part in group.gather(found) for one in part], norm.cpu())


def bytes_held(local_steps: int, clients: int, *, trained: int, state: int) -> int:
    """Bytes that a round holds in the passes of a process's `clients`, beside what a step has: `trained` of weights
    that are trained and their `state` in the optimizer.

    The mean of the clients before, and where they take several steps the server's weights and state, and the sum of a
    client's own gradients.
    """
    mean = trained * (clients > 1)
    return mean if local_steps == 1 else mean + trained + state + trained


def bytes_in_rounds(steps: object, shapes: Iterable[torch.Size], *, state: int, group: Group) -> int:
    """`bytes_held` of a run whose trained parameters, float32, have these shapes; 0 where it has no clients."""
    if not isinstance(steps, ClientSteps):
        return 0
    clients = math.ceil(steps.each_round / group.size)
    return bytes_held(steps.settings.local_steps, clients, trained=4 * sum(s.numel() for s in shapes), state=state)


def _local(
    player: Player, work: Work, references: Mapping[str, Scores], *, server: "Server", rate: float
) -> tuple[Returned, list[Tensor | None]]:
    """What a client does: its mean gradient over its local steps. Leaves the player as the server has it."""
    total, metrics, last = list[Tensor | None](), list[Metrics](), len(work.batches) - 1
    raw = replace(player, max_grad_norm=None)
    for k, batches in enumerate(work.batches):
        metrics += gradients([raw], batches, references)
        total = _added(total, [p.grad for p in player.parameters], 1.0)
        if k < last:  # after the last one nobody looks at the client's weights
            clip(player.parameters, player.max_grad_norm)
            with _at_rate(player.optimizer, rate):
                player.optimizer.step()
            server.put_back_state()
        player.optimizer.zero_grad(set_to_none=True)
    server.put_back_weights()
    mean = [None if gradient is None else gradient.div_(len(work.batches)) for gradient in total]
    norm = float(gradient_norm([gradient for gradient in mean if gradient is not None]))
    tokens = sum(len(batch.tokens) for step in work.batches for batch in step)
    prompts = sum(metric.prompts for metric in metrics)
    return Returned(work.client, metrics[0].sums, prompts, tokens, work.weight * norm**2), mean


def _taken(returned: Sequence[Returned], norm: Tensor) -> Taken:
    """What is logged of a round: metrics on the server's weights, each client's loss, and how far they are apart.

    The drift is sqrt( sum_i weight_i |g_i - g|^2 ), g_i a client's mean gradient, g the mean of all, of norm `norm`.
    """
    together = Metrics.together(one.first for one in returned)
    losses = {f"{LOSS}{one.client}": Metrics.together([one.first]).means()["loss"] for one in returned}
    spread = sum(one.square for one in returned) - float(norm) ** 2
    together.grad_norm = norm
    return Taken(
        [together],
        sum(one.prompts for one in returned),
        sum(one.tokens for one in returned),
        {DRIFT: math.sqrt(max(0.0, spread))} | losses,
    )


def _added(total: list[Tensor | None], more: Sequence[Tensor | None], weight: float) -> list[Tensor | None]:
    """`total` plus `weight` times `more`, in place. None stands for zeros; `total` may still be empty."""
    for place, gradient in enumerate(more):
        if place == len(total):
            total.append(None)
        if gradient is None:
            continue
        own = total[place]
        total[place] = gradient * weight if own is None else own.add_(gradient, alpha=weight)
    return total


class Server:
    """The server's weights and optimizer state, kept while clients move those of the player."""

    def __init__(self, player: Player, *, moved: bool) -> None:
        """Where clients take one local step each, nothing moves and nothing is kept."""
        self._player, self._moved = player, moved
        self._weights = [p.detach().clone() for p in player.parameters] if moved else []
        self._state = {p: {k: _copied(v) for k, v in player.optimizer.state[p].items()} for p in self._stateful()}

    def _stateful(self) -> list[torch.nn.Parameter]:
        return [p for p in self._player.parameters if self._moved and p in self._player.optimizer.state]

    @torch.no_grad()
    def put_back_weights(self) -> None:
        for parameter, kept in zip(self._player.parameters, self._weights, strict=self._moved):
            parameter.copy_(kept)

    @torch.no_grad()
    def put_back_state(self) -> None:
        """As it was, in place; what an optimizer has only begun to keep is forgotten."""
        for parameter in self._stateful():
            kept, state = self._state.get(parameter), self._player.optimizer.state
            if kept is None:
                del state[parameter]
                continue
            for begun in state[parameter].keys() - kept.keys():
                del state[parameter][begun]
            for name, value in kept.items():
                if isinstance(value, Tensor):
                    state[parameter][name].copy_(value)
                else:
                    state[parameter][name] = value


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


@contextmanager
def _kept(player: Player, *, moved: bool) -> Generator[Server]:
    """Within it clients may move the player, which is afterwards as the server had it, whatever happens."""
    server = Server(player, moved=moved)
    try:
        yield server
    finally:
        server.put_back_state()
        server.put_back_weights()
        player.optimizer.zero_grad(set_to_none=True)


@contextmanager
def _at_rate(optimizer: torch.optim.Optimizer, rate: float) -> Generator[None]:
    """Within it every learning rate is `rate` times what it is."""
    before = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * rate
    try:
        yield
    finally:
        for group, value in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = value
