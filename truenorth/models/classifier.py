"""A language model with a head of scores, as the sequence classifier of one label that transformers has for it."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..data.chat import Encoder
from ..errors import ModelError
from ..files import write_json
from .export import Final, cast, in_one_go, write_adapter
from .logprobs import Model, base_of

HEAD = "score.weight"  # as all causal classifiers of transformers call it
ABOUT = "judge.json"  # beside the weights: how the model is asked


def check_classifier(config: PretrainedConfig) -> None:
    """Raise ModelError where transformers has no sequence classifier for models of this configuration."""
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ModelError(
            f"transformers has no sequence classifier for {config.model_type} models, so a reward model made of one "
            "could not be loaded again. Start from a model of another architecture, such as llama, qwen3 or gemma2."
        )


def padding_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """A special token that ends no answer, None where there is none.

    Classifiers read the state at the last token that is not padding. Were the token that ends answers the padding,
    they would read the state before it.
    """
    end: Any = tokenizer.eos_token_id
    ends = {int(end)}
    if tokenizer.chat_template:
        asked = ({"role": "user", "content": "a"},)
        ends.add(int(Encoder(tokenizer).encode_texts(asked, ["b"]).responses[0][-1]))
    special: Sequence[int] = [i for i in tokenizer.all_special_ids if i not in ends]
    given: Any = tokenizer.pad_token_id
    return given if given is not None and given not in ends else next(iter(special), None)


def export_classifier(model: Model, score: Tensor, folder: Path, *, final: Final, about: Mapping[str, Any]) -> None:
    """Write the layers of `model` and the head's weight `score`, [1, D], to `folder`, whole or not at all.

    `AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)` loads it, of an adapter with its base.
    `about` says how it is asked.
    """
    padding = padding_token(final.tokenizer)
    if padding is not None:
        final.tokenizer.pad_token = str(final.tokenizer.convert_ids_to_tokens(padding))
    with in_one_go(folder, final) as new:
        if isinstance(model, PeftModel):
            write_adapter(model, new, final)
            _add_head(new, score)
        else:
            classifier = _shell(base_of(model), padding)
            names = set(classifier.state_dict())
            weights = {name: tensor for name, tensor in final.weights.items() if name in names} | {HEAD: score.cpu()}
            assert set(weights) == names, f"a classifier has other weights: {sorted(set(weights) ^ names)[:4]}"
            classifier.config.dtype = final.dtype
            classifier.save_pretrained(new, state_dict=cast(weights, final.dtype))
        write_json(new / ABOUT, dict(about))


def _shell(model: PreTrainedModel, padding: int | None) -> PreTrainedModel:
    """The classifier of `model`'s configuration, without memory for its weights."""
    config = copy.deepcopy(model.config)
    config.num_labels, config.pad_token_id = 1, padding
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")


def _add_head(adapter: Path, score: Tensor) -> None:
    """Put the head into a written adapter, as PEFT has it of a classifier that was adapted."""
    file = adapter / "adapter_model.safetensors"
    save_file(load_file(file) | {f"base_model.model.{HEAD}": score.cpu().contiguous()}, file, {"format": "pt"})
    config = json.loads((adapter / "adapter_config.json").read_text())
    write_json(adapter / "adapter_config.json", config | {"task_type": "SEQ_CLS", "modules_to_save": ["score"]})
