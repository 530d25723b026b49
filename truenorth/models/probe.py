"""Choose how a model is scored by trying: packed attention and the chunked head against one plain forward each."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..data.packing import PackedBatch, pack
from ..data.tokens import TokenizedRow
from .attention import PackedMask, packed_attention
from .head import Head, head_of
from .logprobs import Model, Scorer, backbone, base_of, total_by_response, unpack
from .modes import evaluating
from .storage import float32_products

SHARING_LAYERS = {"full_attention", "sliding_attention"}
IN_HALF = 0.02  # share of the largest log-prob by which bfloat16 may change one
# What an architecture may raise when its attention cannot be replaced (Falcon and GPT-Neo raise KeyError).
REFUSALS = (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError)


def scorer_for(model: Model) -> Scorer:
    """The fastest exact way to score `model`: prompts shared, else padded rows, else padded rows with full logits.

    Costs a few forward passes over 30 tokens. The verdict is reached on the model itself, so it also holds for
    architectures nobody listed.
    """
    base = base_of(model)
    batch = _trial(base.config.get_text_config().vocab_size, base.device)
    with torch.no_grad(), evaluating(base), float32_products():
        expected = _plain(base, batch)
        tolerance = 1e-3 if base.dtype == torch.float32 else IN_HALF * float(expected.abs().max())  # nats
        head, why_no_head = _exact_head(model, batch, expected, tolerance)
        if head is None:
            return Scorer(model, None, shared=False, fallback=why_no_head)
        reason = _why_not_shared(Scorer(model, head, shared=True), batch, expected, tolerance)
    return Scorer(model, head, shared=not reason, fallback=reason)


def with_checked_kernels(scorer: Scorer) -> Scorer:
    """`scorer`, or its padded form if prompts cannot be shared in the autocast that is on, by this device's kernels.

    `scorer_for` compares in float32, where no kernel of a GPU is used that computes in bfloat16 alone.
    """
    base = base_of(scorer.model)
    batch = _trial(base.config.get_text_config().vocab_size, base.device)
    with torch.no_grad(), evaluating(base):
        expected = _plain(base, batch)
        reason = _why_not_shared(scorer, batch, expected, IN_HALF * float(expected.abs().max()))
    return replace(scorer, shared=False, fallback=f"in bfloat16, {reason}") if reason else scorer


def _trial(vocabulary: int, device: torch.device) -> PackedBatch:
    """Two prompts with two responses each, of arbitrary tokens."""
    draw = torch.Generator().manual_seed(0)

    def tokens(n: int) -> np.ndarray:
        return torch.randint(0, vocabulary, (n,), generator=draw, dtype=torch.int32).numpy()

    shapes = [(6, (3, 4)), (4, (5, 2))]
    rows = [
        TokenizedRow(tokens(p), tuple(tokens(n) for n in r), None, {}, file="", row=i, key="")
        for i, (p, r) in enumerate(shapes)
    ]
    return pack(rows).to(device)


def _plain(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """[B, K] nats by one ordinary forward per response: what everything else must equal."""
    logits = [model(input_ids=sequence[None], use_cache=False).logits[0].float() for sequence in unpack(batch)]
    ends = [one[-length:] for one, length in zip(logits, batch.length.flatten().tolist(), strict=True)]
    at = torch.cat(ends)
    return total_by_response(at.log_softmax(-1).gather(1, batch.targets[:, None])[:, 0], batch).total


def _exact_head(model: Model, batch: PackedBatch, expected: Tensor, tolerance: float) -> tuple[Head | None, str]:
    head = head_of(base_of(model))
    try:
        padded = Scorer(model, head, shared=False)(batch).total
    except REFUSALS as refusal:
        return None, f"its layers below the LM head cannot be called alone ({type(refusal).__name__}: {refusal})"
    if not torch.allclose(padded, expected, rtol=0, atol=tolerance):
        return None, "its logits are not its LM head's output times a known scale and soft cap"
    return head, ""


def _why_not_shared(scorer: Scorer, batch: PackedBatch, expected: Tensor, tolerance: float) -> str:
    """Why prompts cannot be shared, or an empty string if they can."""
    base = base_of(scorer.model)
    config = base.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or SHARING_LAYERS)
    if unknown := kinds - SHARING_LAYERS:
        return f"it has layers that carry a state across tokens or chunks ({', '.join(sorted(unknown))})"
    mask = PackedMask.of(batch.layout, batch.tokens.device)
    try:
        with packed_attention(base):
            output = backbone(scorer.model)(
                input_ids=batch.tokens[None], position_ids=batch.positions[None], attention_mask=mask, use_cache=False
            )
    except REFUSALS as refusal:
        return f"its attention cannot be replaced ({type(refusal).__name__}: {refusal})"
    if mask.calls != config.num_hidden_layers:
        return f"only {mask.calls} of its {config.num_hidden_layers} layers use replaceable attention"
    windows = sum(kind == "sliding_attention" for kind in getattr(config, "layer_types", None) or ())
    if mask.windows < windows:
        return f"{windows} of its layers have a sliding window that they do not hand on"
    assert scorer.head is not None
    nats = scorer.head.token_log_probs(output.last_hidden_state[0][batch.predictor], batch.targets)
    if not torch.allclose(total_by_response(nats, batch).total, expected, rtol=0, atol=tolerance):
        return "with shared prompts its log-probs differ from those of plain forwards"
    return ""
