"""Scores of whole answers under a sequence classifier of one label: reward models, ours and others'."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from ..errors import ModelError
from .classifier import ABOUT, padding_token
from .load import config_of, first_line, load_tokenizer, positions_of
from .logprobs import Model, alike, base_of
from .origin import CLASSIFIER, base_of_adapter, no_classifier

TOKENS_AT_ONCE = 8192  # of one forward pass


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """A classifier that is loaded, in evaluation mode."""

    model: Model
    tokenizer: PreTrainedTokenizerBase
    about: dict[str, Any]  # what `truenorth train` wrote beside it; empty: another's model

    @classmethod
    def load(cls, path: str, *, trust_remote_code: bool = False) -> "AnswerScores":
        """The classifier at `path`, or an adapter of one with its base.

        Raises ModelError if it cannot be read, or does not give one number.
        """
        config, source = config_of(path, trust_remote_code=trust_remote_code), base_of_adapter(path) or path
        _refuse_other(config, path, adapter=source != path)
        try:
            model: Any = AutoModelForSequenceClassification.from_pretrained(
                source,
                num_labels=1,
                dtype="auto" if torch.cuda.is_available() else torch.float32,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
            )
        except (OSError, ImportError, ValueError) as error:  # ValueError: an architecture without a classifier
            raise ModelError(f"the judge {path!r} cannot be read: {first_line(error)}") from error
        about = json.loads(file.read_text()) if (file := Path(path) / ABOUT).is_file() else {}
        tokenizer = load_tokenizer(path, trust_remote_code=trust_remote_code)
        if source != path:
            model = PeftModel.from_pretrained(model, path)
        if about:  # an adapter's base does not say
            base_of(model).config.get_text_config().pad_token_id = padding_token(tokenizer)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return cls(model.requires_grad_(False).eval().to(device), tokenizer, about)

    @property
    def context(self) -> int | None:
        """Positions that it has; None: no limit."""
        return positions_of(base_of(self.model).config)

    @torch.inference_mode()
    def of(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """One score for each, whatever stands beside it: sequences of like lengths are padded on the right."""
        padding = base_of(self.model).config.get_text_config().pad_token_id
        sizes = [len(sequence) for sequence in sequences]
        scores = dict[int, float]()
        for part in [[i] for i in range(len(sizes))] if padding is None else _batches(sizes):
            rows = [torch.tensor(list(sequences[i])) for i in part]
            real = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            tokens = pad_sequence(rows, batch_first=True, padding_value=padding or 0)
            device = base_of(self.model).device
            logits = self.model(input_ids=tokens.to(device), attention_mask=real.to(device)).logits
            scores |= zip(part, logits[:, 0].float().tolist(), strict=True)
        return [scores[i] for i in range(len(sizes))]


def _batches(sizes: Sequence[int]) -> list[list[int]]:
    """Places of like sizes, at most TOKENS_AT_ONCE tokens with their padding."""
    cut = list[list[int]]()
    for part in alike(sizes):
        count = max(1, TOKENS_AT_ONCE // max(sizes[i] for i in part))
        cut += [part[start : start + count] for start in range(0, len(part), count)]
    return cut


def _refuse_other(config: Any, path: str, *, adapter: bool) -> None:
    """Raise ModelError for what is no sequence classifier of one label."""
    classifies = any(CLASSIFIER in name for name in config.architectures or ())
    if not classifies and not adapter:
        raise ModelError(no_classifier(path, config.architectures or ["nothing known"]))
    if classifies and config.num_labels != 1:
        raise ModelError(f"{path} classifies into {config.num_labels} labels; a judge gives one number.")
