"""KL between the next-token distributions of two models: exact, and never with [N, V] logits at once."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import log_softmax
from torch.utils.checkpoint import checkpoint

from ..data.packing import PackedBatch
from ..types import LogProbs
from .logprobs import total_by_response

ROWS_AT_ONCE = 256  # tokens whose logits under both models are there together

Logits = Callable[[slice], Tensor]


def token_kl(policy: LogProbs, reference: LogProbs, batch: PackedBatch) -> Tensor:
    """[B, K] nats: sums over each response's tokens of KL(policy || reference), whole distributions.

    Carries the policy's gradient, and none of the reference's. The logits of a chunk are computed again in the
    backward pass. Both must have been asked for `logits` on this batch.
    """
    ours, theirs = policy.logits, reference.logits
    assert ours is not None
    assert theirs is not None
    count = len(batch.targets)
    chunks = [slice(i, i + ROWS_AT_ONCE) for i in range(0, count, ROWS_AT_ONCE)]
    parts = [_checkpointed(ours, theirs, chunk) for chunk in chunks]
    return total_by_response(torch.cat(parts), batch).total


def _checkpointed(ours: Logits, theirs: Logits, chunk: slice) -> Tensor:
    if not torch.is_grad_enabled():
        return _kl(ours, theirs, chunk)
    found = checkpoint(_kl, ours, theirs, chunk, use_reentrant=False)
    assert isinstance(found, Tensor)
    return found


def _kl(ours: Logits, theirs: Logits, chunk: slice) -> Tensor:
    """[n] nats of the tokens in `chunk`."""
    with torch.no_grad():
        log_q = log_softmax(theirs(chunk), -1)
    log_p = log_softmax(ours(chunk), -1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)
