"""Models and tokenizers that cannot be used are refused with what to do."""

import json
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_directory, tiny_model
from truenorth.errors import ModelError
from truenorth.models.load import load_model, load_tokenizer, with_lora


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_a_folder_that_is_not_there_is_named_with_the_nearest_one(load: object, tmp_path: Path) -> None:
    tiny_directory(tmp_path / "my-sft")
    with pytest.raises(ModelError, match=r"there is no model folder .*my-stf\. Did you mean .*my-sft\?"):
        load(str(tmp_path / "my-stf"))  # pyright: ignore


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither config\.json nor adapter_config\.json"):
        load_model(str(tmp_path))


def test_a_quantised_model_is_refused(tmp_path: Path) -> None:
    folder = tiny_directory(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    )
    with pytest.raises(ModelError, match="is quantised"):
        load_model(str(folder))


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = tiny_directory(tmp_path / "model")
    torch.save(tiny_model().state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(str(folder))


def test_an_adapter_that_is_no_lora_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "PROMPT_TUNING"}))
    with pytest.raises(ModelError, match="PROMPT_TUNING adapter; TrueNorth trains LoRA adapters only"):
        load_model(str(tmp_path))


def test_lora_on_modules_that_are_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="LoRA does not fit"):
        with_lora(tiny_model(), rank=2, alpha=4, targets=["no_such_module"], dropout=0.0)


def test_a_reward_model_is_no_policy(tmp_path: Path) -> None:
    config = tiny_model("llama").config
    config.architectures = ["LlamaForSequenceClassification"]
    config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has no LM head"):
        load_model(str(tmp_path))
