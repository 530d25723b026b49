"""A linear head that scores whole answers, on the state at an answer's last token: what reward models are made of.

It is trained beside the model's own layers as all else is: its weights are the player's, stepped, clipped, summed over
processes and kept in checkpoints. `classifier` writes both as a sequence classifier of transformers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..data.packing import PackedBatch
from ..types import NOTHING, LogProbs, Measures
from .policy import Policy


@dataclass(frozen=True, slots=True)
class ScoreReader:
    """A language model whose LM head is not used, with a head of one score."""

    policy: Policy
    head: nn.Linear  # [1, D], for states over the root of D

    @classmethod
    def of(cls, policy: Policy) -> "ScoreReader":
        """A head whose weights are all 0: at first every answer is as good, and the layers get no gradient of it."""
        embeddings = policy.model.get_output_embeddings()
        assert embeddings is not None, "a causal language model has an LM head"
        head = nn.Linear(embeddings.weight.shape[-1], 1, bias=False, device=policy.device, dtype=torch.float32)
        nn.init.zeros_(head.weight)
        return cls(policy, head)

    def log_probs(self, batch: PackedBatch, asked: Measures = NOTHING) -> LogProbs:
        """[B, K] scores in place of totals, and the answers' lengths."""
        assert not asked, "a head of scores gives nothing else"
        batch = batch.to(self.policy.device)
        with self.policy.autocast():
            states = self.policy.scorer.last_states(batch)
        return LogProbs(self.scores(states), batch.length)

    def scores(self, states: Tensor) -> Tensor:
        """[..., D] -> [...] float32. States have a norm of about the root of D, which is divided out: the same
        learning rate then suits small and large models."""
        with torch.autocast(states.device.type, enabled=False):
            return self.head(states.float() / states.shape[-1] ** 0.5)[..., 0]

    @staticmethod
    def scaled(weight: Tensor) -> Tensor:
        """[1, D] the head's weight for the states themselves, as sequence classifiers have it."""
        return weight.detach() / weight.shape[-1] ** 0.5
