"""The LM head in chunks: log-probs of given tokens without ever holding [N, V] logits in float32.

The gradient of a token's log-prob is one row of errors, onehot(token) - softmax(logits), times the head's weights. The
errors are kept in the precision of the matrix products where they are small, and computed again where they are not.
A frozen head needs none of this: then the forward pass takes the gradient of the hidden states along.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from ..types import Measure

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
        return self.token_scores(hidden, targets)[0]

    def token_scores(self, hidden: Tensor, targets: Tensor, measures: Sequence[Measure] = ()) -> tuple[Tensor, ...]:
        """[N, D] hidden states, [N] tokens -> [N] nats, and [N] for each of `measures`, one of MEASURES. Float32."""
        rows = max(ROWS_AT_ONCE, (ON_A_GPU if hidden.is_cuda else LOGITS_AT_ONCE) // self.vocabulary)
        after = After(self.scale, self.softcap, rows, tuple(measures))
        if is_plain(self.module):
            weight, bias = self.module.weight, self.module.bias
            return _TokenScores.apply(hidden, weight, bias, targets, (after, torch.is_grad_enabled()))
        through = [
            checkpoint(self._through_module, hidden[c], targets[c], after, use_reentrant=False)
            for c in after.chunks(len(targets))
        ]
        return tuple(map(torch.cat, zip(*through, strict=True)))

    def logits(self, hidden: Tensor) -> Tensor:
        """[n, D] hidden states -> [n, V] float32 logits, all there at once: for few rows."""
        return After(self.scale, self.softcap, len(hidden)).logits(self.module(hidden))

    def _through_module(self, hidden: Tensor, targets: Tensor, after: "After") -> tuple[Tensor, ...]:
        return scores_of(after.logits(self.module(hidden)), targets, after.measures)


@dataclass(frozen=True, slots=True)
class After:
    """What follows the linear layer, and how many rows at once."""

    scale: float
    softcap: float | None
    rows: int
    measures: tuple[Measure, ...] = ()

    def chunks(self, count: int) -> Generator[slice]:
        yield from (slice(i, i + self.rows) for i in range(0, count, self.rows))

    def logits(self, products: Tensor) -> Tensor:
        """[n, V] the layer's output -> float32 logits."""
        logits = products.float()
        if self.scale != 1:
            logits = logits * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def scores(self, products: Tensor, targets: Tensor, *, errors: bool) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """[n, V] the layer's output, [n] tokens -> [n] nats and measures; if asked, [n, V] the nats' gradient by it.

        Overwrites `products`.
        """
        logits, targets = self.logits(products), targets[:, None]
        slope = None if self.softcap is None else 1 - (logits / self.softcap).square()
        at, peak = logits.gather(1, targets), logits.amax(1, keepdim=True)
        logits.sub_(peak)
        shares = logits.exp() if "entropy" in self.measures else logits.exp_()
        total = shares.sum(1, keepdim=True)
        nats = (at - (total.log() + peak))[:, 0]
        scores = nats, *(MEASURES[measure](logits, shares, total[:, 0]) for measure in self.measures)
        if not errors:
            return scores, None
        gradient = shares.mul_(-self.scale / total)
        gradient.scatter_add_(1, targets, torch.full_like(at, self.scale))
        if slope is not None:
            gradient.mul_(slope)
        return scores, gradient.to(products.dtype)


# Of next-token distributions: [n, V] logits less their peak, [n, V] their exponentials, [n] the sums of these -> [n].


def _entropy(logits: Tensor, shares: Tensor, total: Tensor) -> Tensor:
    """-sum_v p_v log p_v as a share of log V: 1 is uniform."""
    return (total.log() - torch.einsum("nv,nv->n", shares, logits) / total) / log(logits.shape[1])


def _collision(_: Tensor, shares: Tensor, total: Tensor) -> Tensor:
    """-log sum_v p_v^2 in nats, the entropy of collisions: log V is uniform."""
    return 2 * (total.log() - torch.linalg.vector_norm(shares, dim=1).log())


MEASURES: Mapping[Measure, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"entropy": _entropy, "collision": _collision}


def scores_of(logits: Tensor, targets: Tensor, measures: Sequence[Measure]) -> tuple[Tensor, ...]:
    """[n, V] float32 logits, [n] tokens -> [n] nats with gradients, and [n] for each of `measures` without."""
    nats = logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)
    if not measures:
        return (nats,)
    parts: list[tuple[Tensor, ...]] = []
    for part in logits.detach().split(ROWS_AT_ONCE):
        part = part - part.amax(1, keepdim=True)
        shares = part.exp()
        parts.append(tuple(MEASURES[measure](part, shares, shares.sum(1)) for measure in measures))
    return nats, *map(torch.cat, zip(*parts, strict=True))


def is_plain(module: nn.Module) -> bool:
    """Whether the head is a linear layer and nothing else: no adapter, no hooks, no shards."""
    hooked = module._forward_hooks or module._forward_pre_hooks  # pyright: ignore[reportPrivateUsage]
    return type(module) is nn.Linear and not hooked and not isinstance(module.weight, DTensor)


class _TokenScores(torch.autograd.Function):
    """[N] nats of `targets` under a linear head, and [N] for each measure of it, float32."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, how: tuple[After, bool]
    ) -> tuple[Tensor, ...]:
        (after, gradients), kind = how, hidden.device.type
        ctx.given, ctx.after = hidden.dtype, after
        among = torch.promote_types(hidden.dtype, weight.dtype)
        ctx.dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else among
        ctx.frozen = not any(ctx.needs_input_grad[1:3])
        size = len(targets) * len(weight) * ctx.dtype.itemsize
        keep = gradients and (ctx.frozen or size <= ERRORS_KEPT)
        scores: list[tuple[Tensor, ...]] = []
        kept: list[Tensor] = []  # of each chunk: its errors; of a frozen head the gradient of its hidden states
        with torch.autocast(kind, enabled=False):
            h, w = hidden.to(ctx.dtype), weight.to(ctx.dtype)
            b = None if bias is None else bias.to(ctx.dtype)
            for c in after.chunks(len(targets)):
                found, errors = after.scores(linear(h[c], w, b), targets[c], errors=keep)
                scores.append(found)
                if errors is not None:
                    kept.append(errors @ w if ctx.frozen else errors)
        ctx.save_for_backward(h, weight, bias, targets, *kept)
        nats, *measured = map(torch.cat, zip(*scores, strict=True))
        ctx.mark_non_differentiable(*measured)
        return nats, *measured

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_log_probs: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
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
            errors = kept[i] if kept else ctx.after.scores(linear(h[c], w, b), targets[c], errors=True)[1]
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
