"""A language model of two tokens and three places, whose eight answers can all be counted: for exact gradients."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from truenorth.types import Candidates, LogProbs

LENGTH, VOCABULARY = 3, 2
ANSWERS = list(itertools.product(range(VOCABULARY), repeat=LENGTH))  # 8
STATES = sum(VOCABULARY**t for t in range(LENGTH))  # 7 prefixes


def logits(seed: int) -> Tensor:
    """[STATES, V] of a random model, float64."""
    return torch.randn(STATES, VOCABULARY, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def state(prefix: Sequence[int]) -> int:
    """The row of the logits after `prefix`."""
    return sum(VOCABULARY**t for t in range(len(prefix))) + sum(
        token * VOCABULARY**place for place, token in enumerate(reversed(prefix))
    )


def tokens_of(model: Tensor, answers: Sequence[Sequence[int]]) -> Tensor:
    """[N] nats, answer after answer."""
    log_p = log_softmax(model, -1)
    return torch.stack([log_p[state(answer[:t]), answer[t]] for answer in answers for t in range(LENGTH)])


def scored(model: Tensor, answers: Sequence[Sequence[int]]) -> LogProbs:
    """As one prompt's [1, K] answers."""
    tokens = tokens_of(model, answers)
    return LogProbs(tokens.view(1, -1, LENGTH).sum(-1), torch.full((1, len(answers)), float(LENGTH)), tokens)


def token_kl(policy: Tensor, reference: Tensor, answers: Sequence[Sequence[int]]) -> Tensor:
    """[1, K] sums of the KL of whole next-token distributions along each answer."""
    log_p, log_q = log_softmax(policy, -1), log_softmax(reference, -1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    return torch.stack([torch.stack([kl[state(a[:t])] for t in range(LENGTH)]).sum() for a in answers])[None]


def distribution(model: Tensor) -> Tensor:
    """[8] log-probs of all answers."""
    return tokens_of(model, ANSWERS).view(-1, LENGTH).sum(-1)


def kl(policy: Tensor, reference: Tensor) -> Tensor:
    """KL between the distributions of whole answers."""
    log_p, log_q = distribution(policy), distribution(reference)
    return (log_p.exp() * (log_p - log_q)).sum()


def expected_gradient(model: Tensor, loss: Callable[[Tensor, Sequence[Sequence[int]]], Tensor], k: int = 2) -> Tensor:
    """The mean of the gradient of loss(model, answers) over K answers of the model's own, all of them counted."""
    chance = distribution(model).exp().detach()
    total = torch.zeros_like(model)
    for places in itertools.product(range(len(ANSWERS)), repeat=k):
        leaf = model.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf, [ANSWERS[i] for i in places]).sum(), leaf)
        total += torch.stack([chance[i] for i in places]).prod() * gradient
    return total


def candidates(
    model: Tensor, answers: Sequence[Sequence[int]], references: dict[str, Tensor], **more: Any
) -> Candidates:
    return Candidates(
        policy=scored(model, answers),
        references={name: scored(reference, answers).detach() for name, reference in references.items()},
        token_kl={name: token_kl(model, reference.detach(), answers) for name, reference in references.items()},
        **more,
    )
