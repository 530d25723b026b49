"""Tiny random models of every architecture we list, and rows for them, built without network or files."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from truenorth import world
from truenorth.data.tokens import TokenizedRow

VOCABULARY = 97
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,  # far from uniform predictions, so that a wrong mask shows
}
_GPT2_STYLE = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
_WINDOW = {"sliding_window": 7, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}

SHARING: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "mistral": {"sliding_window": 7, "head_dim": 8},
    "phi3": {"sliding_window": 7},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0, **_WINDOW},
    "gemma3_text": {"head_dim": 8, **_WINDOW},
    "gpt2": _GPT2_STYLE,
    "gpt_neox": {},
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 48, "init_std": 0.2},
    "mixtral": _EXPERTS,
    "olmo2": {},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 4.0, "attention_multiplier": 0.3, "residual_multiplier": 0.5},
    "starcoder2": {"sliding_window": 7},
    "gpt_oss": {"head_dim": 8, **_EXPERTS, **_WINDOW},
}
PADDED: dict[str, dict[str, object]] = {
    "falcon": {"alibi": False},
    "bloom": {"n_layer": 2, "n_head": 4, "hidden_size": 32},
    "gpt_neo": {
        **_SIZES,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 7,
    },
    "mamba": {"state_size": 8, "num_hidden_layers": 2, "hidden_size": 32},
    "qwen3_next": {"head_dim": 8, "layer_types": ["linear_attention", "full_attention"], **_EXPERTS},
}
_KEEP_OWN_SIZES = {"gpt2"}
_WORDS = ["the", "boat", "is", "slow", "and", "green", "but", "we", "like", "it"]


def tiny_model(architecture: str = "llama", *, seed: int = 0, **changes: object) -> PreTrainedModel:
    """A random float32 causal language model in evaluation mode, small enough for a test."""
    own = SHARING.get(architecture, PADDED.get(architecture, {}))
    sizes = own if architecture in _KEEP_OWN_SIZES else _SIZES | own
    config = CONFIG_MAPPING[architecture](**(sizes | changes))
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.eval()


def tiny_directory(folder: Path, *, seed: int = 0, **changes: object) -> Path:
    """A tiny Llama on disk, with the world's tokenizer and chat template: what a user's SFT model looks like."""
    tokenizer = AutoTokenizer.from_pretrained(world.sft_model())
    model = tiny_model("llama", seed=seed, vocab_size=len(tokenizer), **changes)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows_of(
    shapes: Sequence[tuple[int, Sequence[int]]], *, seed: int = 0, scores: bool = False, degraded: int = 0
) -> list[TokenizedRow]:
    """Rows of random tokens: for each (prompt length, response lengths) one row.

    Each response has `degraded` worse versions, one token shorter each time while it has more than one.
    """
    draw = np.random.default_rng(seed)

    def tokens(n: int) -> np.ndarray:
        return draw.integers(3, VOCABULARY, n, dtype=np.int32)

    rows = [
        TokenizedRow(
            prompt=tokens(prompt),
            responses=tuple(tokens(n) for n in responses),
            scores=tuple(sorted(draw.random(len(responses)).tolist(), reverse=True)) if scores else None,
            columns={},
            file="tiny",
            row=i + 1,
            key=str(i),
        )
        for i, (prompt, responses) in enumerate(shapes)
    ]
    return [
        replace(row, degraded=tuple(r[: max(1, len(r) - m)] for r in row.responses for m in range(1, degraded + 1)))
        for row in rows
    ]


def write_pairs(file: Path, **columns: float) -> Path:
    """Twelve pairs as a user's file holds them."""
    draw = random.Random(0)
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What of number {i}?"}],
            "chosen": [{"role": "assistant", "content": " ".join(draw.choices(_WORDS, k=5))}],
            "rejected": [{"role": "assistant", "content": " ".join(draw.choices(_WORDS, k=6))}],
            **columns,
        }
        for i in range(12)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
