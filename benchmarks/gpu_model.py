"""The models of the benchmark on a GPU: Llamas of random weights in the sizes that people train."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import model
import torch
from rows import Row
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()

VOCABULARY = 128_256  # of Llama 3; the rows' own tokenizer uses the first 16k


@dataclass(frozen=True, slots=True)
class Size:
    """The widths of a Llama."""

    name: str
    layers: int
    width: int
    inner: int
    heads: int
    key_heads: int
    tied: bool = False
    vocabulary: int = VOCABULARY

    def products(self, tokens: int, targets: int) -> float:
        """Floating-point operations of one forward pass: linear layers over `tokens`, the head over `targets`."""
        kept = self.width * self.key_heads // self.heads
        layer = 2 * self.width**2 + 2 * self.width * kept + 3 * self.width * self.inner
        return 2.0 * (self.layers * layer * tokens + self.width * self.vocabulary * targets)

    @property
    def config(self) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            max_position_embeddings=8192,
            rope_theta=500_000.0,
            tie_word_embeddings=self.tied,
        )


SIZES = {
    size.name: size
    for size in (
        Size("tiny", layers=2, width=64, inner=128, heads=4, key_heads=2, vocabulary=model.VOCABULARY),
        Size("1b", layers=16, width=2048, inner=8192, heads=32, key_heads=8, tied=True),  # as Llama 3.2 1B
        Size("8b", layers=32, width=4096, inner=14336, heads=32, key_heads=8),  # as Llama 3.1 8B
    )
}


def make(folder: Path, size: Size, chosen: Sequence[Row]) -> Path:
    """A directory with random bfloat16 weights and a tokenizer trained on `chosen`. Made unless it is there."""
    if (folder / "tokenizer.json").exists():
        return folder
    tokenizer = model.train_tokenizer(text for row in chosen for text in (row.prompt, *row.responses))
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        made = LlamaForCausalLM._from_config(size.config, dtype=torch.bfloat16)
    made.config.eos_token_id, made.config.bos_token_id = tokenizer.eos_token_id, None
    made.save_pretrained(folder)
    del made
    torch.cuda.empty_cache()  # the sides need it all
    tokenizer.save_pretrained(folder)
    return folder
