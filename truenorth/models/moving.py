"""References that follow the policy: now and then their weights move a share of the way to its own.

A follower of a model whose every weight is trained is a second model. One of an adapter is only what the adapter has
been: the difference that it makes to a layer is B A, a mean of several differences is

    w_1 B_1 A_1 + ... + w_n B_n A_n  =  [w_1 B_1 ... w_n B_n] [A_1; ...; A_n],

and so an adapter again, of n times the rank. (The mean of the Bs times the mean of the As is another matrix.)
"""

import abc
import math
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from peft import PeftModel
from torch import Tensor, nn

from ..data.packing import PackedBatch
from ..errors import ModelError
from ..types import NOTHING, LogProbs, Measures
from .logprobs import Model
from .modes import evaluating
from .policy import Policy
from .references import Moving
from .storage import size_of_copy

BITS = 26  # an adapter that counts less than 2^-26 is forgotten: float32 rounds by more
PAIRS = {".lora_A.": ".lora_B.", ".lora_embedding_A.": ".lora_embedding_B."}  # A is [rank, in], B is [out, rank]


class Follower(abc.ABC):
    """A reference whose weights move. `tensors` are what it is made of, for a checkpoint to keep."""

    def __init__(self, policy: Policy, moving: Moving) -> None:
        self.policy = policy  # which is the reference within `in_its_place`
        self.every, self.share = moving.every, moving.share

    def after_step(self, step: int) -> None:
        """Move if it is time, after optimizer step number `step`, the first being 1; before it nothing has moved."""
        if step > 0 and step % self.every == 0:
            self.move()

    @abc.abstractmethod
    def move(self) -> None:
        """theta <- share * theta_policy + (1 - share) * theta."""

    def in_its_place(self) -> AbstractContextManager[object]:
        """Within it `policy` has the reference's weights."""
        return nullcontext()

    @torch.no_grad()
    def log_probs(self, batch: PackedBatch, asked: Measures = NOTHING) -> LogProbs:
        """[B, K] nats and lengths of every response in `batch`, and what is `asked` besides, without gradients."""
        with self.in_its_place():
            return self.policy.log_probs(batch, asked)

    @abc.abstractmethod
    def tensors(self) -> Mapping[str, Tensor]:
        """Its weights by name. Some grow with the first moves."""

    @abc.abstractmethod
    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Take `tensors`, once given by `tensors()`, as its weights."""


class FollowingModel(Follower):
    """Follows a policy whose every weight is trained. Costs a second model, in float32 unless `share` is 1.

    `copy` is the policy's start, sharded as the policy is: each process moves the part that it holds.
    """

    def __init__(self, policy: Policy, copy: Policy, moving: Moving) -> None:
        super().__init__(copy, moving)
        self._followed = dict(policy.model.named_parameters())
        self._tensors = {name: p.detach() for name, p in copy.model.named_parameters()}

    @torch.no_grad()
    def move(self) -> None:
        for name, tensor in self._tensors.items():
            ours = self._followed[name].detach()
            if self.share == 1:
                tensor.copy_(ours)
            else:
                tensor.lerp_(ours, self.share)

    def tensors(self) -> Mapping[str, Tensor]:
        return self._tensors

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self._tensors.items():
            tensor.copy_(tensors[name])


class FollowingAdapter(Follower):
    """Follows an adapter: the adapters that count, stacked into one, which takes the policy's place in its layers.

    Costs as many adapters in float32: one where `share` is 1, 20 at 0.6, 172 at 0.1. Where that were more than the
    layer, the sum of their differences is kept instead, so at most two matrices of the size of each layer.
    """

    def __init__(self, policy: Policy, moving: Moving) -> None:
        super().__init__(policy, moving)
        self._parameters = dict(policy.model.named_parameters())
        self._pairs = pairs_of(policy.model)
        names = [name for pair in self._pairs for name in pair]
        self._weights = {name: self._parameters[name].detach().clone() for name in names}

    @torch.no_grad()
    def move(self) -> None:
        for a, b in self._pairs:
            ours = self._parameters[a].detach(), self._parameters[b].detach()
            stacked_a = torch.cat([self._weights[a], ours[0]])
            stacked_b = torch.cat([(1 - self.share) * self._weights[b], self.share * ours[1]], dim=1)
            kept = len(ours[0]) * terms_of(self.share)
            self._weights[a], self._weights[b] = _shortened(stacked_a, stacked_b, kept)

    def tensors(self) -> Mapping[str, Tensor]:
        return self._weights

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        self._weights = {name: tensors[name] for name in self._weights}

    @contextmanager
    def in_its_place(self) -> Generator[None]:
        """As of `Follower`. The policy's own parameters stay what they are."""
        try:
            for name, weight in self._weights.items():
                self._set(name, nn.Parameter(weight, requires_grad=False))
            with evaluating(self.policy.model):
                yield
        finally:
            for name in self._weights:
                self._set(name, self._parameters[name])

    def _set(self, name: str, parameter: nn.Parameter) -> None:
        owner, _, attribute = name.rpartition(".")
        setattr(self.policy.model.get_submodule(owner), attribute, parameter)


def size_of_follower(model: Model, moving: Moving, *, half: bool) -> int:
    """Bytes that a follower of `model` comes to take in this process. `half`: the precision is bfloat16."""
    if not isinstance(model, PeftModel):
        return size_of_copy(model, half=half and moving.share == 1)
    parameters, size = dict(model.named_parameters()), 0
    for a, b in pairs_of(model):
        rank, width = parameters[a].shape
        height = len(parameters[b])
        size += 4 * (width + height) * min(rank * terms_of(moving.share), width, height)
    return size


def terms_of(share: float) -> int:
    """How many past adapters count: the weight of the last one forgotten is below 2^-BITS.

    >>> terms_of(1.0), terms_of(0.6), terms_of(0.1)
    (1, 20, 172)
    """
    return 1 if share == 1 else math.ceil(BITS / -math.log2(1 - share))


def pairs_of(model: Model) -> list[tuple[str, str]]:
    """The names of A and B of each adapted layer. Raises ModelError if something else is trained as well."""
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    pairs = [(name, name.replace(a, b)) for name in trained for a, b in PAIRS.items() if a in name]
    odd = set(trained) - {name for pair in pairs for name in pair}
    odd |= {name for name, p in model.named_parameters() if p.requires_grad and p.dim() != 2}
    if odd:
        raise ModelError(
            f"a moving reference follows plain LoRA layers, and this adapter also trains {min(odd)}: the mean of two "
            "such adapters is none. Train all weights (without --lora), or give a reference that stays: --reference "
            "cached."
        )
    return pairs


def _shortened(a: Tensor, b: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """[R, in], [out, R] with the same product: the last `kept` of R, or, where that is shorter, the product itself."""
    height, width = len(b), a.shape[1]
    if kept <= min(height, width):
        return a[-kept:].clone(), b[:, -kept:].clone()
    if len(a) <= min(height, width):
        return a, b
    eye = torch.eye(min(height, width), dtype=a.dtype, device=a.device)
    return (eye, b @ a) if width <= height else (b @ a, eye)
