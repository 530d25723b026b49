"""Tokens from logits, each by a uniform number of its own: what an answer is does not depend on its neighbours.

torch's own sampling draws from one stream for the whole batch.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .sampling import Sampling


def uniforms(prompt: Sequence[int], place: int, sampling: Sampling, *, round_index: int = 0) -> Tensor:
    """[max_new_tokens] float64 in [0, 1): a function of seed, prompt, answer's place and round."""
    digest = hashlib.blake2b(np.asarray(prompt, "<i4").tobytes(), digest_size=8).digest()
    key = [sampling.seed, int.from_bytes(digest, "little"), place, *([round_index] if round_index else [])]
    return torch.from_numpy(np.random.default_rng(key).random(sampling.max_new_tokens))


def draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """[S, V] logits and [S] numbers in [0, 1) -> [S] tokens and [S] nats of each under the distribution drawn from.

    The token is the one at which the cumulative share of probability first exceeds its number, so that logits which
    differ by rounding give the same one, but where the number falls between the two.
    """
    if sampling.temperature == 0:
        token = logits.argmax(-1)
        return token, torch.zeros(token.shape, device=token.device)  # all of the probability
    scores = logits.float() / sampling.temperature
    weights = (scores - scores.amax(-1, keepdim=True)).exp_()  # unnormalised: the likeliest token has 1
    if sampling.top_p < 1:
        weights = nucleus(weights, sampling.top_p)
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    token = torch.searchsorted(cumulative, uniform[:, None] * total, right=True)  # exceeds: never one of weight 0
    token = token.clamp_(max=logits.shape[-1] - 1)  # where the product was rounded up to the whole
    return token[:, 0], (weights.gather(-1, token).double() / total).log()[:, 0].float()


def nucleus(weights: Tensor, top_p: float) -> Tensor:
    """[S, V] with all but the likeliest tokens at 0: those without which the likelier ones fill `top_p` already."""
    ordered, order = weights.sort(dim=-1, descending=True, stable=True)
    filled = ordered.cumsum(-1, dtype=torch.float64)
    tail = filled - ordered >= top_p * filled[:, -1:]  # never the first
    return weights.masked_fill(tail.new_zeros(tail.shape).scatter_(-1, order, tail), 0.0)
