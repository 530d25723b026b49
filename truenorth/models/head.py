"""The LM head in chunks: log-probs of given tokens without ever holding [T, V] logits."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

LOGITS_AT_ONCE = 2**24  # entries; 64 MB in float32


@dataclass(frozen=True, slots=True)
class Head:
    """The last linear layer, LoRA on it included, and what the architecture does to its logits afterwards."""

    module: nn.Module
    vocabulary: int
    scale: float = 1.0
    softcap: float | None = None

    def token_log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """[N, D] hidden states, [N] tokens -> [N] nats, float32. Logits are computed again in the backward pass."""
        rows = max(1, LOGITS_AT_ONCE // self.vocabulary)
        chunks = zip(hidden.split(rows), targets.split(rows), strict=True)
        if not torch.is_grad_enabled():
            return torch.cat([self._chunk(h, t) for h, t in chunks])
        return torch.cat([checkpoint(self._chunk, h, t, use_reentrant=False) for h, t in chunks])

    def _chunk(self, hidden: Tensor, targets: Tensor) -> Tensor:
        logits = self.module(hidden).float() * self.scale  # [n, V]
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)


def head_of(model: PreTrainedModel) -> Head:
    """The head of a causal language model, with the logit scale and soft cap of its configuration."""
    module, config = model.get_output_embeddings(), model.config.get_text_config()
    assert module is not None, "a causal language model has an LM head"
    divided = getattr(config, "logits_scaling", None)  # Granite divides
    multiplied = getattr(config, "logit_scale", None)  # Cohere multiplies
    scale = (1.0 if divided is None else 1 / divided) * (1.0 if multiplied is None else multiplied)
    return Head(module, config.vocab_size, scale, getattr(config, "final_logit_softcapping", None))
