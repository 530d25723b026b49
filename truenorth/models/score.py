"""Score responses under any causal language model, with prompts shared: the engine without a run around it."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ..data.chat import Encoder
from ..data.packing import pack, split_by_tokens
from ..types import LogProbs
from .attention import packed_attention
from .logprobs import Model, base_of
from .modes import evaluating
from .probe import scorer_for

TOKENS_AT_ONCE = 8192  # per forward pass


def score(
    model: Model, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]], *, eos: bool = True
) -> LogProbs:
    """Log-probs of every response: [B, K] totals in float32 nats and lengths in tokens.

    `rows` are `{"prompt": str, "responses": [str, ...]}` with one number K of responses; prompt and responses may also
    be chat messages, which go through the tokenizer's template. Text is tokenised as in training, and its responses
    end with EOS unless `eos` is False. Carries gradients unless the caller turns them off. Dropout and
    gradient checkpointing are off, and the model is left as it was.

    Raises ValueError if there are no rows, K differs or is 0, DataError if a row cannot be tokenised.
    """
    if any(isinstance(row["responses"], str) for row in rows):
        raise ValueError("score needs a list of responses in each row, got a text. Put it in a list.")
    counts = {len(row["responses"]) for row in rows}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"score needs rows with one number of responses, got {sorted(counts) or 'no rows'}.")
    encoder = Encoder(tokenizer, eos=eos)
    tokens = [encoder.encode_texts(row["prompt"], row["responses"]) for row in rows]
    lengths = [len(row.prompt) + sum(map(len, row.responses)) for row in tokens]
    base, scorer = base_of(model), scorer_for(model)
    parts: list[LogProbs] = []
    order: list[int] = []
    attention = packed_attention(base) if scorer.shared else nullcontext()
    with evaluating(base), attention:
        for places in split_by_tokens(lengths, [1] * len(rows), TOKENS_AT_ONCE):
            parts.append(scorer(pack([tokens[p] for p in places]).to(base.device)))
            order.extend(places)
    back = torch.argsort(torch.tensor(order, device=base.device))
    return LogProbs(torch.cat([part.total for part in parts])[back], torch.cat([part.length for part in parts])[back])
