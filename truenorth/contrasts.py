"""Contrasts: how the scores of a prompt's responses are compared with what they should be. Pure functions.

Many methods are one of these three with scores, a target or an offset of their own.
"""

from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid


def soft_pair(margin: Tensor, probability: Tensor | float) -> Tensor:
    """Cross-entropy of sigmoid(margin) with the probability that the chosen response is better. [B], [B] -> [B] nats.

    >>> soft_pair(Tensor([0.0]), 1.0)  # log 2: a coin
    tensor([0.6931])
    """
    return -probability * logsigmoid(margin) - (1 - probability) * logsigmoid(-margin)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Forward KL(target || softmax(logits)) plus the target's own entropy. [B, K], [B, K] shares -> [B] nats.

    >>> cross_entropy(Tensor([[0.0, 0.0]]), Tensor([[1.0, 0.0]]))  # soft_pair(0, 1)
    tensor([0.6931])
    """
    return -(target * log_softmax(logits, -1)).sum(-1)


def reverse_kl(logits: Tensor, log_target: Tensor) -> Tensor:
    """KL(softmax(logits) || target). [B, K], [B, K] or [K] finite nats -> [B] nats.

    A target of exactly 0 would make it infinite, so `log_target` must be finite.

    >>> reverse_kl(Tensor([[0.0, 0.0]]), Tensor([0.5, 0.5]).log())
    tensor([0.])
    """
    log_p = log_softmax(logits, -1)
    return (log_p.exp() * (log_p - log_target)).sum(-1)


def leave_one_out(rewards: Tensor) -> Tensor:
    """Each reward less the mean of the others of its prompt. [B, K] -> [B, K], K at least 2.

    >>> leave_one_out(Tensor([[1.0, 2.0, 6.0]]))
    tensor([[-3.0000, -1.5000,  4.5000]])
    """
    k = rewards.shape[-1]
    return (rewards - rewards.mean(-1, keepdim=True)) * (k / (k - 1))
