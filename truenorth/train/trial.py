"""The largest micro-batch tried with all that will be in memory beside it, leaving no trace."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..data.loader import PlannedSteps
from ..data.packing import PackedBatch
from ..errors import SettingsError
from ..models.memory import Bytes, Part, counting
from .step import Player, token_kls


@dataclass(slots=True)
class MemoryTrial:
    """A forward and backward pass of the largest micro-batch by all players, as in the middle of a run.

    Gradients of an earlier micro-batch are there if a step has several. `later` is what else will be: on a GPU as much
    memory is held meanwhile. Weights, gradients, the optimizer's state and the random numbers are afterwards as they
    were.
    """

    players: Sequence[Player]
    steps: PlannedSteps
    parameters: list[nn.Parameter]  # of the whole policy
    vocabulary: int
    later: Mapping[Part, int]  # bytes of the optimizer's state and of references
    sharded: bool  # gathered layers come and go unseen: nothing is counted
    parts: Bytes = field(default_factory=dict[Part, int])  # of the last trial, `later` among them

    @property
    def longest(self) -> int:
        """Tokens of the longest row that is trained on."""
        return int(self.steps.rows.lengths[self.steps.used()].max())

    def __call__(self, budget: int) -> Bytes:
        """Bytes by part at the peak, none if sharded. Raises torch.cuda.OutOfMemoryError where it does not fit."""
        batch = self.steps.largest(budget=budget)
        trained = [parameter for player in self.players for parameter in player.parameters]
        device = trained[0].device
        count = nullcontext() if self.sharded else counting(self.parameters, vocabulary=self.vocabulary)
        try:
            with _held(sum(self.later.values()), device), _random_numbers_kept(device), count as ledger:
                if batch.prompts < self.steps.batch_size:
                    for parameter in trained:
                        parameter.grad = torch.empty_like(parameter).zero_()  # zeros would take no memory yet
                    if ledger is not None:
                        ledger.own("gradients", [p.grad for p in trained if p.grad is not None])
                self._pass(batch)
        finally:
            for player in self.players:
                player.optimizer.zero_grad(set_to_none=True)
        found = {} if ledger is None else ledger.peak
        self.parts = {**found, **self.later}
        return found

    def _pass(self, batch: PackedBatch) -> None:
        try:
            parts = [part for player in self.players for part in _read(player, batch)]
            torch.stack([part.sum() for part in parts]).sum().backward()
        except torch.cuda.OutOfMemoryError as error:
            if not self.sharded:
                raise
            raise SettingsError(  # the others wait in the middle of a layer: there is no second try
                f"a micro-batch of {len(batch.tokens)} tokens does not fit in the GPU's memory. Give a smaller "
                "--tokens-per-micro-batch, or switch on --gradient-checkpointing."
            ) from error


def _read(player: Player, batch: PackedBatch) -> list[Tensor]:
    """What a loss reads of the policy. Its own distributions stand for those of references, which are as large."""
    found, objective = player.log_probs(batch), player.objective
    references = dict.fromkeys(objective.references, found.detach())
    degrees = [] if found.degrees is None else [found.degrees]
    return [found.total, *degrees, *token_kls(objective, found, references, batch.to(found.total.device)).values()]


@contextmanager
def _held(size: int, device: torch.device) -> Generator[None]:
    """Within it, `size` bytes of a GPU's memory are taken. On a CPU they are added up instead."""
    ballast = torch.empty(size, dtype=torch.uint8, device=device) if device.type == "cuda" else None
    yield
    del ballast


@contextmanager
def _random_numbers_kept(device: torch.device) -> Generator[None]:
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
