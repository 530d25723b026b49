"""TRL's side of a comparison: `DPOTrainer.train()` as its users run it, one step at a time when told to."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from peft import LoraConfig
from protocol import Answers, Parent, perturb
from transformers import TrainerCallback
from transformers.utils import is_flash_attn_2_available, is_liger_kernel_available


class Steps(TrainerCallback):
    """Reports each step when it has been logged, and holds the trainer until the next one is asked for."""

    def __init__(self, parent: Parent, answers: Answers) -> None:
        self.parent, self.answers = parent, answers

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.parent.wait_for_step(self.answers)

    def on_log(self, _args: Any, _state: Any, _control: Any, logs: dict[str, Any], **__: Any) -> None:
        self.parent.step_is_done({name: float(logs[name]) for name in ("loss", "grad_norm")})
        self.parent.wait_for_step(self.answers)


def main() -> None:
    settings = json.loads(sys.argv[1])
    parent = Parent()
    trainer = trl.DPOTrainer(
        settings["model"],
        args=_arguments(settings),
        train_dataset=Dataset.from_list(json.loads(Path(settings["pairs"]).read_text())),
        peft_config=_lora() if settings["lora"] else None,
    )
    perturb({name: p for name, p in trainer.model.named_parameters() if p.requires_grad}, settings["noise"])
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    trainer.add_callback(Steps(parent, {"log_probs": lambda: {"log_probs": _first_log_probs(trainer)}}))
    versions = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    attention = trainer.model.config._attn_implementation
    parent.send({**versions, "tokens": _padded(trainer), "attention": attention})
    trainer.train()


def _arguments(settings: dict[str, Any]) -> trl.DPOConfig:
    return trl.DPOConfig(
        output_dir=str(Path(settings["folder"]) / "trl"),
        use_cpu=not settings.get("gpu", False),
        model_init_kwargs=_model_init(settings),
        use_liger_kernel=bool(settings.get("gpu")) and is_liger_kernel_available(),
        bf16=settings["precision"] == "bfloat16",
        per_device_train_batch_size=settings["pairs_at_once"],
        gradient_accumulation_steps=settings["pairs_per_step"] // settings["pairs_at_once"],
        max_steps=settings["steps"] + 1,
        max_length=None,
        precompute_ref_log_probs=settings["cached"],
        train_sampling_strategy="sequential",  # the rows come in the order in which the other side draws them
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        beta=0.1,
        gradient_checkpointing=False,
        dataloader_pin_memory=bool(settings.get("gpu")),
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _model_init(settings: dict[str, Any]) -> dict[str, str] | None:
    """On a GPU: the fastest attention that is installed, and the base of an adapter in bfloat16."""
    if not settings.get("gpu"):
        return None
    attention = "flash_attention_2" if is_flash_attn_2_available() else "sdpa"
    return {"attn_implementation": attention, "dtype": "bfloat16" if settings["lora"] else "float32"}


def _lora() -> LoraConfig:
    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM")


def _padded(trainer: trl.DPOTrainer) -> list[int]:
    """[micro-batches of the first step] tokens that enter the model, padding included."""
    count = trainer.args.gradient_accumulation_steps
    return [batch["input_ids"].numel() for batch, _ in zip(trainer.get_train_dataloader(), range(count), strict=False)]


def _first_log_probs(trainer: trl.DPOTrainer) -> list[list[float]]:
    """[pairs of the first step][chosen, rejected] nats."""
    found: list[list[float]] = []
    count = trainer.args.gradient_accumulation_steps
    for batch, _ in zip(trainer.get_train_dataloader(), range(count), strict=False):
        labels = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, -100)
        with torch.no_grad():
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            per_token = trainer.model(**inputs, labels=labels, use_cache=False, fused_lm_head=True).log_probs
        chosen, rejected = per_token.double().sum(1).chunk(2)  # summed here: float32 would lose 1e-4 in 250 terms
        found.extend(torch.stack([chosen, rejected], dim=1).tolist())
    return found


if __name__ == "__main__":
    main()
