"""A model ready to be scored: how (shared prompts or padded rows), and in which precision."""

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..data.packing import PackedBatch
from ..types import NOTHING, LogProbs, Measures
from .attention import NAME, native_attention
from .logprobs import Model, Scorer, base_of
from .probe import scorer_for, with_checked_kernels

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Policy:
    """A model with its scorer. Scoring carries gradients unless the caller turns them off."""

    model: Model
    scorer: Scorer
    precision: Precision
    native: str  # the model's own attention, to generate with

    @classmethod
    def of(cls, model: Model, precision: Precision) -> "Policy":
        """Choose the scorer by trying, and leave the model attending through packed batches where it can."""
        native = native_attention(base_of(model))
        policy = cls(model, scorer_for(model), precision, native)
        if precision == "bfloat16" and policy.scorer.shared and policy.device.type == "cuda":
            with policy.autocast():
                policy = replace(policy, scorer=with_checked_kernels(policy.scorer))
        policy.attend_packed()
        return policy

    @property
    def device(self) -> torch.device:
        return base_of(self.model).device

    def log_probs(self, batch: PackedBatch, asked: Measures = NOTHING) -> LogProbs:
        """[B, K] nats and lengths of every response in `batch`, and what is `asked` besides."""
        with self.autocast():
            found = self.scorer(batch.without_degraded().to(self.device), asked)
        return found if found.logits is None else replace(found, logits=self._in_precision(found.logits))

    def _in_precision(self, logits: Callable[[slice], Tensor]) -> Callable[[slice], Tensor]:
        def computed(chunk: slice) -> Tensor:
            with self.autocast():
                return logits(chunk)

        return computed

    def autocast(self) -> torch.autocast:
        """The precision of the matrix products; log-probs are float32 in any case."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    def in_float32(self) -> "Policy":
        """The same model, scored in float32: within `storage.float32_products` where weights are stored rounded."""
        return replace(self, precision="float32")

    def attend_packed(self) -> None:
        if self.scorer.shared:
            base_of(self.model).set_attn_implementation(NAME)

    @contextlib.contextmanager
    def attending_natively(self) -> Generator[None]:
        """Within it the model attends as transformers would, to generate text."""
        base = base_of(self.model)
        before = native_attention(base)
        base.set_attn_implementation(self.native)
        try:
            yield
        finally:
            base.set_attn_implementation(before)


def fine_precision(device: torch.device) -> Precision:
    """For measuring: float32 on a processor, since what is measured is often a small difference."""
    return "float32" if device.type == "cpu" else fast_precision(device)


def fast_precision(device: torch.device) -> Precision:
    """bfloat16 where the device multiplies it faster than float32, else float32."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    can = torch.cpu.get_capabilities()
    return "bfloat16" if can.get("amx_bf16") or can.get("avx512_bf16") else "float32"
