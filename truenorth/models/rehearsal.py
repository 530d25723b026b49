"""The forward and backward pass of a micro-batch on tensors without contents: what it would take, before it is run.

Nothing is loaded and nothing is multiplied. The model is built from its configuration, with the adapter and the
storage that training gives it, and torch's fake tensors go through its own layers; so what it would keep for the
backward pass needs no formula, for whatever architecture. Only attention is stood in for: the engine's depends on each
sequence's length and would take as long as all else.
"""

import copy
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AttentionInterface, AutoModelForCausalLM, PretrainedConfig

from ..data.packing import Layout
from ..errors import ModelError
from .attention import native_attention
from .head import head_of
from .load import with_lora
from .logprobs import Model, backbone, base_of
from .memory import Bytes, Ledger, counting
from .modes import evaluating, set_training
from .policy import Precision
from .probe import REFUSALS, SHARING_LAYERS
from .storage import size_of_copy, store_frozen

NAME = "truenorth-rehearsal"  # in transformers' attention registry


@dataclass(frozen=True, slots=True)
class Adapter:
    """Low-rank adapters, as `Run.lora` has them."""

    rank: int
    targets: list[str] | str = "all-linear"


@dataclass(frozen=True, slots=True)
class Asked:
    """How a model is trained, as far as memory is concerned."""

    precision: Precision = "float32"
    adapter: Adapter | None = None  # None: all weights
    checkpointing: bool = False
    gpu: bool = False  # its kernels keep keys and values once and in bfloat16
    twin: bool = False  # a second adapter on the same frozen base, trained on the same micro-batches
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a micro-batch."""

    tokens: int  # that enter the model
    targets: int  # response tokens
    keys: int  # of all sequences: a response's own and its prompt's
    pairs: int  # of a query and a key that it may look at
    scores: int  # of a query and any key of its sequence
    sequences: int  # responses
    longest: int  # tokens of the longest prompt with one response

    @classmethod
    def of(cls, layout: Layout) -> "Shape":
        """
        >>> Shape.of(Layout(prompts=(2,), responses=((1, 0),)))
        Shape(tokens=3, targets=3, keys=7, pairs=6, scores=7, sequences=2, longest=3)
        """
        both = list(zip(layout.prompts, layout.responses, strict=True))
        return cls(
            tokens=sum(layout.groups),
            targets=sum(r + 1 for _, responses in both for r in responses),
            keys=sum(p + sum(p + r for r in responses) for p, responses in both),
            pairs=sum(p * (p + 1) // 2 + sum(r * p + r * (r + 1) // 2 for r in responses) for p, responses in both),
            scores=sum(p * p + sum(r * (p + r) for r in responses) for p, responses in both),
            sequences=sum(len(responses) for _, responses in both),
            longest=max(p + max(responses) for p, responses in both),
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What a rehearsal counted."""

    peak: Bytes  # at the moment when their sum is largest
    forward_flops: int  # of one forward pass without gradients: what a reference costs
    flops: int  # of the forward and backward pass
    forward_launches: int  # operations, about one kernel each, of one forward pass without gradients
    launches: int  # of the forward and backward pass
    shared: bool  # whether the architecture lets prompts be shared


class Rehearsal:
    """A model of fake tensors that can be put through micro-batches of any size. Made in a second.

    `reference` is what a frozen copy takes, in bytes; an adapter needs none, it is switched off instead. Raises
    ModelError for an architecture whose layers cannot be followed without contents.
    """

    def __init__(self, config: PretrainedConfig, asked: Asked) -> None:
        self.config, self.asked = copy.deepcopy(config), asked
        kinds = set(getattr(self.config.get_text_config(), "layer_types", None) or SHARING_LAYERS)
        self.shared = kinds <= SHARING_LAYERS
        with torch.device("meta"):
            model: Model = AutoModelForCausalLM.from_config(
                self.config, dtype=torch.float32, trust_remote_code=asked.trust_remote_code
            )
            model.requires_grad_(asked.adapter is None).eval()
            if asked.adapter is not None:
                rank, targets = asked.adapter.rank, asked.adapter.targets
                model = with_lora(model, rank=rank, alpha=1.0, targets=targets, dropout=0.0)
        if half := asked.precision == "bfloat16":
            store_frozen(model)
        if asked.checkpointing:
            base_of(model).activation_checkpointing_enable()
        set_training(model, dropout=False)
        self._native = native_attention(base_of(model))
        if self.shared:
            base_of(model).set_attn_implementation(NAME)
        self.reference = 0 if isinstance(model, PeftModel) else size_of_copy(model, half=half)
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self._mode:
            self.model = model.to_empty(device="cpu")
            base_of(model).tie_weights()
            self.models = [self.model, *([_twin(self.model)] if asked.twin else [])]
            if self.shared:
                base_of(self.models[-1]).set_attn_implementation(NAME)  # a config is copied as it was made

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Of the policy and its twin, each once."""
        return list(dict.fromkeys(p for model in self.models for p in model.parameters()))

    @property
    def trained(self) -> list[nn.Parameter]:
        return [p for p in self.parameters if p.requires_grad]

    @property
    def weights(self) -> int:
        """Bytes of the policy's parameters."""
        return _bytes(self.model)

    def __call__(self, shape: Shape, *, accumulated: bool = False) -> Found:
        """Go through a micro-batch, where `accumulated` with the gradients of another one there already.

        The peak holds weights, gradients and what the passes need, neither references nor the optimizer's state.
        """
        try:
            return self._run(shape, accumulated)
        except REFUSALS as refusal:
            raise ModelError(
                f"{self.config.model_type} models cannot be planned: their layers ask for contents that a plan does "
                f"not have ({type(refusal).__name__}: {str(refusal).strip().splitlines()[0]}). Train for a few steps "
                "instead: the run says before the first one what it takes."
            ) from refusal

    @contextmanager
    def generating(self) -> Generator[Ledger]:
        """Within it the policy can be asked for logits as it is to draw answers, on a cache, and what that takes is
        counted."""
        base, before = base_of(self.model), native_attention(base_of(self.model))
        base.set_attn_implementation(self._native)
        vocabulary, half = self.config.get_text_config().vocab_size, self.asked.precision == "bfloat16"
        try:
            with (
                self._mode,
                torch.no_grad(),
                evaluating(self.model),
                torch.autocast("cpu", dtype=torch.bfloat16, enabled=half),
                counting(self.parameters, vocabulary=vocabulary) as ledger,
            ):
                yield ledger
        finally:
            base.set_attn_implementation(before)

    def _run(self, shape: Shape, accumulated: bool) -> Found:
        vocabulary = self.config.get_text_config().vocab_size
        for parameter in self.parameters:
            parameter.grad = None
        with self._mode, counting(self.parameters, vocabulary=vocabulary) as ledger:
            with torch.no_grad():
                self._log_probs(self.model, shape)
            forward, launches = ledger.flops, ledger.launches
            if accumulated:
                for parameter in self.trained:
                    parameter.grad = torch.empty_like(parameter)
                    ledger.own("gradients", [parameter.grad])
            torch.stack([self._log_probs(model, shape).sum() for model in self.models]).sum().backward()
        attention = 4 * shape.pairs * self._attention_width if self.shared else 0
        passes = len(self.models) * (3.5 + self.asked.checkpointing)  # backward: five products, not two
        both = ledger.flops - forward + passes * attention
        later = ledger.launches - launches
        return Found(ledger.peak, forward + attention, round(both), launches, later, self.shared)

    @property
    def _attention_width(self) -> int:
        """Columns of the queries of all layers together."""
        text = self.config.get_text_config()
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return text.num_hidden_layers * text.num_attention_heads * width

    def _log_probs(self, model: Model, shape: Shape) -> Tensor:
        """[N] nats, the first of what `Scorer.token_scores` gives."""
        size = (1, shape.tokens) if self.shared else (shape.sequences, shape.longest)
        inputs: dict[str, Any] = {"input_ids": torch.zeros(size, dtype=torch.int64), "use_cache": False}
        if self.shared:
            mask = torch.zeros(1, 1, 1, 1, dtype=torch.bool).as_subclass(Tensor)
            positions = torch.zeros(size, dtype=torch.int64)
            inputs |= {"attention_mask": mask, "position_ids": positions, "rehearsed": (shape, self.asked)}
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.asked.precision == "bfloat16"):
            hidden = backbone(model)(**inputs).last_hidden_state.flatten(0, 1)
            places = torch.zeros(shape.targets, dtype=torch.int64)
            return head_of(base_of(model)).token_log_probs(hidden[places], places)


def _twin(model: Model) -> Model:
    """As `twin.twin_of` copies a model, of tensors without contents: what is trained is its own."""
    held = [*model.parameters(), *model.buffers()]
    own = {id(x): nn.Parameter(torch.empty_like(x)) if x.requires_grad else x for x in held}
    return copy.deepcopy(model, own)


def _bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def attend(
    _: nn.Module,
    query: Tensor,  # [1, heads, T, head width]
    key: Tensor,  # [1, key heads, T, head width]
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    rehearsed: tuple[Shape, Asked],
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **__: object,
) -> tuple[Tensor, None]:
    """Stands for `attention.attend`: what that keeps for the backward pass. Returns [1, T, heads, head width]."""
    del attention_mask
    shape, asked = rehearsed
    with torch.autocast("cpu", enabled=False):
        given = value.dtype
        dtype = given if asked.gpu else torch.float32
        query, key, value = (x.to(dtype) for x in (query, key, value))
        if not asked.gpu and (repeats := query.shape[1] // key.shape[1]) > 1:
            key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        by_hand = 0 if asked.gpu else (softcap is not None) + (softcap is not None or s_aux is not None)
        gathered = shape.keys if asked.gpu else shape.keys - shape.tokens
        out = _Attention.apply(query, key, value, gathered, by_hand * shape.scores)
        return out.to(given).transpose(1, 2), None


class _Attention(torch.autograd.Function):
    """A kernel that keeps queries, keys, values, outputs, keys and values gathered for each sequence, and scores."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, gathered: int, scores: int) -> Tensor:
        _, heads, _, width = key.shape
        copies = [torch.empty(1, heads, gathered, width, dtype=key.dtype) for _ in range(2)]
        out = torch.empty_like(query)
        by_hand = torch.empty(query.shape[1], scores, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, *copies, query[..., 0].float(), by_hand)
        return torch.empty_like(out)  # the sequences' outputs, laid end to end

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value = ctx.saved_tensors[:3]
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None, None


AttentionInterface.register(NAME, attend)
