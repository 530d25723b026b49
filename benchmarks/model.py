"""The model of the benchmarks: a Llama of 32M random weights and a tokenizer trained on the benchmark's own rows.

Both are made into a folder of the caller's choice and belong nowhere else: the rows' licences may not let them travel.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 16_384
END = "<|end|>"
PADDING = "<|padding|>"


def build(folder: Path, texts: Iterable[str], *, seed: int = 0) -> Path:
    """A directory with the model and its tokenizer, made unless it is there."""
    if (folder / "model.safetensors").exists():
        return folder
    tokenizer = train_tokenizer(texts)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config_of(len(tokenizer)))
    model.config.eos_token_id, model.config.bos_token_id = tokenizer.eos_token_id, None
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def config_of(vocabulary: int) -> LlamaConfig:
    """About 33M parameters, of which 8M are the tied embeddings."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=8,
        num_attention_heads=8,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 16k tokens, END and PADDING included. Small corpora give fewer merges than asked for."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END, pad_token=PADDING)
