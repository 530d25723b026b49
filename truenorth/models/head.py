"""The LM head in chunks: log-probs of given tokens without ever holding [N, V] logits in float32.

The gradient of a token's log-prob is one row of errors, onehot(token) - softmax(logits), times the head's weights. The
errors are kept in the precision of the matrix products where they are small, and computed again where they are not.
A frozen head needs none of this: then the forward pass takes the gradient of the hidden states along.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

LOGITS_AT_ONCE = 2**24  # entries, 64 MB in float32; but at least
ON_A_GPU = 2**27  # which multiplies so few rows slower than it could
ROWS_AT_ONCE = 256  # or a large vocabulary would write its weights' gradient too often
ERRORS_KEPT = 2**28  # bytes; more are computed again


@dataclass(frozen=True, slots=True)
class Head:
    """The last linear layer, LoRA on it included, and what the architecture does to its logits afterwards."""

    module: nn.Module
    vocabulary: int
    scale: float = 1.0
    softcap: float | None = None

    def token_log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """[N, D] hidden states, [N] tokens -> [N] nats, float32."""
        rows = max(ROWS_AT_ONCE, (ON_A_GPU if hidden.is_cuda else LOGITS_AT_ONCE) // self.vocabulary)
        after = After(self.scale, self.softcap, rows)
        if _is_plain(self.module):
            weight, bias = self.module.weight, self.module.bias
            return _TokenLogProbs.apply(hidden, weight, bias, targets, (after, torch.is_grad_enabled()))
        through = [
            checkpoint(self._through_module, hidden[c], targets[c], after, use_reentrant=False)
            for c in after.chunks(len(targets))
        ]
        return torch.cat(through)

    def _through_module(self, hidden: Tensor, targets: Tensor, after: "After") -> Tensor:
        logits = after.logits(self.module(hidden))
        return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)


@dataclass(frozen=True, slots=True)
class After:
    """What follows the linear layer, and how many rows at once."""

    scale: float
    softcap: float | None
    rows: int

    def chunks(self, count: int) -> Generator[slice]:
        yield from (slice(i, i + self.rows) for i in range(0, count, self.rows))

    def logits(self, products: Tensor) -> Tensor:
        """[n, V] the layer's output -> float32 logits."""
        logits = products.float()
        if self.scale != 1:
            logits = logits * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def log_probs(self, products: Tensor, targets: Tensor, *, errors: bool) -> tuple[Tensor, Tensor | None]:
        """[n, V] the layer's output, [n] tokens -> [n] nats and, if asked, [n, V] their gradient by that output.

        Overwrites `products`.
        """
        logits, targets = self.logits(products), targets[:, None]
        slope = None if self.softcap is None else 1 - (logits / self.softcap).square()
        at, peak = logits.gather(1, targets), logits.amax(1, keepdim=True)
        shares = logits.sub_(peak).exp_()
        total = shares.sum(1, keepdim=True)
        nats = (at - (total.log() + peak))[:, 0]
        if not errors:
            return nats, None
        gradient = shares.mul_(-self.scale / total)
        gradient.scatter_add_(1, targets, torch.full_like(at, self.scale))
        if slope is not None:
            gradient.mul_(slope)
        return nats, gradient.to(products.dtype)


def _is_plain(module: nn.Module) -> bool:
    """Whether the head is a linear layer and nothing else: no adapter, no hooks, no shards."""
    hooked = module._forward_hooks or module._forward_pre_hooks  # pyright: ignore[reportPrivateUsage]
    return type(module) is nn.Linear and not hooked and not isinstance(module.weight, DTensor)


class _TokenLogProbs(torch.autograd.Function):
    """[N] nats of `targets` under a linear head, float32."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, how: tuple[After, bool]
    ) -> Tensor:
        (after, gradients), kind = how, hidden.device.type
        ctx.given, ctx.after = hidden.dtype, after
        among = torch.promote_types(hidden.dtype, weight.dtype)
        ctx.dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else among
        ctx.frozen = not any(ctx.needs_input_grad[1:3])
        size = len(targets) * len(weight) * ctx.dtype.itemsize
        keep = gradients and (ctx.frozen or size <= ERRORS_KEPT)
        nats: list[Tensor] = []
        kept: list[Tensor] = []  # of each chunk: its errors; of a frozen head the gradient of its hidden states
        with torch.autocast(kind, enabled=False):
            h, w = hidden.to(ctx.dtype), weight.to(ctx.dtype)
            b = None if bias is None else bias.to(ctx.dtype)
            for c in after.chunks(len(targets)):
                found, errors = after.log_probs(linear(h[c], w, b), targets[c], errors=keep)
                nats.append(found)
                if errors is not None:
                    kept.append(errors @ w if ctx.frozen else errors)
        ctx.save_for_backward(h, weight, bias, targets, *kept)
        return torch.cat(nats)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_log_probs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        h, weight, bias, targets, *kept = ctx.saved_tensors
        by_nats = by_log_probs[:, None]
        if ctx.frozen:
            return (torch.cat(kept) * by_nats).to(ctx.given), None, None, None, None
        w = weight.to(ctx.dtype)
        b = None if bias is None else bias.to(ctx.dtype)
        by_hidden = torch.empty(h.shape, dtype=ctx.given, device=h.device)
        by_weight = torch.zeros_like(weight, dtype=torch.float32)
        by_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        for i, c in enumerate(ctx.after.chunks(len(targets))):
            errors = kept[i] if kept else ctx.after.log_probs(linear(h[c], w, b), targets[c], errors=True)[1]
            by_hidden[c] = (errors @ w) * by_nats[c]
            by_weight += errors.T @ (h[c] * by_nats[c]).to(ctx.dtype)
            if by_bias is not None:
                by_bias += (errors.T @ by_nats[c].to(ctx.dtype))[:, 0]
        return by_hidden, by_weight.to(weight.dtype), by_bias, None, None


def head_of(model: PreTrainedModel) -> Head:
    """The head of a causal language model, with the logit scale and soft cap of its configuration."""
    module, config = model.get_output_embeddings(), model.config.get_text_config()
    assert module is not None, "a causal language model has an LM head"
    divided = getattr(config, "logits_scaling", None)  # Granite divides
    multiplied = getattr(config, "logit_scale", None)  # Cohere multiplies
    scale = (1.0 if divided is None else 1 / divided) * (1.0 if multiplied is None else multiplied)
    return Head(module, config.vocab_size, scale, getattr(config, "final_logit_softcapping", None))
