"""Adapters of one tiny base on disk, each with an effect of its own."""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM


def adapter(base: str, folder: Path, *, seed: int, rank: int = 2, alpha: float = 4.0) -> Path:
    """An adapter whose A and B are drawn with `seed`."""
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")  # pyright: ignore
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    draw = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=draw)
    for own in model.peft_config.values():
        own.base_model_name_or_path = base
    model.save_pretrained(str(folder))
    return folder


def logits(model: torch.nn.Module) -> torch.Tensor:
    """[1, T, V] of a few tokens."""
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 19)[None]).logits


def logits_of(base: str, folder: Path) -> torch.Tensor:
    """Those of the base with an adapter."""
    return logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder)).eval())


def dense_sum(base: str, folders: list[Path], ratios: list[float]) -> torch.nn.Module:
    """The base with the weighted products of B and A added to its weights."""
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    weights = dict(model.named_parameters())
    for folder, ratio in zip(folders, ratios, strict=True):
        merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder)).merge_and_unload()
        start = dict(AutoModelForCausalLM.from_pretrained(base).named_parameters())
        for name, parameter in merged.named_parameters():
            weights[name].data += ratio * (parameter.data - start[name].data)
    return model
