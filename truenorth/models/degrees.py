"""A linear head that tells how much was deleted from a response, on the state at the response's last input.

The head belongs to the training, not to the model: its weights are the player's, so that they are stepped, clipped,
summed over processes and kept in checkpoints like all others, and the final model is written without it.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..data.packing import PackedBatch
from ..types import NOTHING, LogProbs, Measures
from .logprobs import by_response
from .policy import Policy


@dataclass(frozen=True, slots=True)
class DegreeReader:
    """A policy with a head of L levels: its log-probs come with `degrees`, [B, K, L, L] logits."""

    policy: Policy
    head: nn.Linear

    @classmethod
    def of(cls, policy: Policy, *, levels: int) -> "DegreeReader":
        """A head whose weights are all 0: at first every level is as likely, and the policy gets no gradient of it."""
        embeddings = policy.model.get_output_embeddings()
        assert embeddings is not None, "a causal language model has an LM head"
        head = nn.Linear(embeddings.weight.shape[-1], levels, device=policy.device, dtype=torch.float32)
        for parameter in head.parameters():
            nn.init.zeros_(parameter)
        return cls(policy, head)

    def log_probs(self, batch: PackedBatch, asked: Measures = NOTHING) -> LogProbs:
        """As `Policy.log_probs`, of a batch with L - 1 degraded versions of each response."""
        batch = batch.to(self.policy.device)
        with self.policy.autocast():
            scores, states = self.policy.scorer.with_states(batch, asked)
        return replace(by_response(scores, batch, asked), degrees=self.logits(states))

    def logits(self, states: Tensor) -> Tensor:
        """[..., D] -> [..., L] float32. States have a norm of about the root of D, which is divided out: the same
        learning rate then suits small and large models."""
        with torch.autocast(states.device.type, enabled=False):
            return self.head(states.float() / states.shape[-1] ** 0.5)
