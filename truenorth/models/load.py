"""Load models and tokenizers: safetensors only, no remote code unless asked, every refusal says what to do."""

import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from ..errors import ModelError
from .logprobs import Model
from .origin import base_of_adapter, must_exist

logging.disable_progress_bar()  # the run's own line says what is done
# PEFT 0.21 asks transformers 5.23 by a name that will go; a user can do nothing about it.
warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated", FutureWarning)


def load_tokenizer(
    path: str, *, chat_template: Path | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model directory or hub name; an adapter without one takes its base model's.

    `chat_template` is a file in place of its own template. Raises ModelError if there is no tokenizer, or if it has no
    end-of-sequence token.
    """
    must_exist(path)
    base = base_of_adapter(path)
    source = path if base is None or (Path(path) / "tokenizer_config.json").exists() else base
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"no tokenizer can be read from {source!r}: {first_line(error)}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {source!r} has no end-of-sequence token, so a model could not learn where to stop. "
            "Set eos_token in its tokenizer_config.json."
        )
    if chat_template is not None:
        tokenizer.chat_template = chat_template.read_text(encoding="utf-8")
    return tokenizer


def load_model(path: str, *, trust_remote_code: bool = False) -> Model:
    """A causal language model, or an adapter on its base model, float32, in evaluation mode and with gradients off.

    Raises ModelError if it cannot be read, is quantised, or is no LoRA adapter.
    """
    must_exist(path)
    base_path = base_of_adapter(path)
    source = base_path or path
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
        if getattr(config, "quantization_config", None) is not None:
            raise ModelError(f"{source} is quantised; TrueNorth trains unquantised weights. Give the original model.")
        if any("ForSequenceClassification" in name for name in config.architectures or ()):
            raise ModelError(
                f"{source} is a sequence classifier, such as a reward model: it has no LM head, and would get "
                "a random one. Give the language model that it was made of."
            )
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, use_safetensors=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ImportError) as error:
        raise ModelError(f"the model {source!r} cannot be read: {first_line(error)}") from error
    except ValueError as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"{source!r} is no causal language model that transformers knows: {first_line(error)}"
        ) from error
    if base_path is not None:
        model = PeftModel.from_pretrained(model, path)
    return model.requires_grad_(False).eval()


def stored_dtype(path: str, *, trust_remote_code: bool = False) -> torch.dtype:
    """What the configuration at `path`, or of the base model of an adapter there, says its weights are stored in."""
    config = AutoConfig.from_pretrained(base_of_adapter(path) or path, trust_remote_code=trust_remote_code)
    return config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32


def context_of(path: str, *, trust_remote_code: bool = False) -> int | None:
    """How many positions a model has, from its configuration alone; None where it sets no limit.

    Raises ModelError if there is no configuration to read.
    """
    return positions_of(config_of(path, trust_remote_code=trust_remote_code))


def positions_of(config: PretrainedConfig) -> int | None:
    """How many positions a model of this configuration has; None where it sets no limit."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None


def config_of(path: str, *, trust_remote_code: bool = False) -> PretrainedConfig:
    """A model's configuration, of an adapter that of its base. Raises ModelError if there is none to read."""
    must_exist(path)
    source = base_of_adapter(path) or path
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ImportError, ValueError) as error:
        raise ModelError(f"the configuration of {source!r} cannot be read: {first_line(error)}") from error


def with_lora(model: Model, *, rank: int, alpha: float, targets: list[str] | str, dropout: float) -> PeftModel:
    """`model` with a fresh trainable adapter, which changes nothing yet (B starts at zero).

    Raises ModelError if no module has one of the names in `targets`.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # pyright: ignore[reportArgumentType]  -- PEFT divides it by the rank; a float is fine
        target_modules=targets,
        lora_dropout=dropout,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # GPT-2 stores [in, out]
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)  # pyright: ignore[reportArgumentType, reportReturnType]
    except ValueError as error:
        raise ModelError(f"LoRA does not fit this model: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """What it says first: those of transformers go on for a page."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
