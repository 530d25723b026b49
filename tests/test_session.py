"""What a run holds before its first step: references, evaluation and starts that do not depend on how it trains."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.tiny import rows_of, tiny_directory, tiny_model
from truenorth import align, session, world
from truenorth.data.loader import Steps
from truenorth.data.tokens import TokenizedRows
from truenorth.evaluate.progress import Silent
from truenorth.judge import judge_of
from truenorth.methods import recipe
from truenorth.models.references import Frozen
from truenorth.run import Run
from truenorth.train.trial import MemoryTrial

QUICK = {"batch_size": 4, "precision": "float32", "samples": 0, "max_steps": 2}


def gpt2_directory(folder: Path, **changes: object) -> str:
    tokenizer = AutoTokenizer.from_pretrained(world.sft_model())
    tiny_model("gpt2", vocab_size=len(tokenizer), **changes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["cached", "frozen"])
def test_dropout_reaches_neither_the_references_nor_the_first_step(kind: str, pairs: str, tmp_path: Path) -> None:
    sft = gpt2_directory(tmp_path / "gpt2", resid_pdrop=0.5, embd_pdrop=0.5)
    asked = recipe("dpo").replace(references={"initial": {"kind": kind}})
    result = align(asked, model=sft, data=pairs, out=tmp_path / "run", dropout=True, lora={"rank": 2}, **QUICK)
    assert result.summary["step0"]["drift"] <= 1e-4


def test_dropout_reaches_no_evaluation(pairs: str, tmp_path: Path) -> None:
    sft = gpt2_directory(tmp_path / "gpt2", resid_pdrop=0.5, embd_pdrop=0.5)
    still = recipe("dpo", learning_rate=1e-30)
    result = align(still, model=sft, data=pairs, eval_data=pairs, out=tmp_path / "run", dropout=True, **QUICK)
    assert result.summary["evaluation"]["after"]["logps/chosen"] == pytest.approx(
        result.summary["evaluation"]["before"]["logps/chosen"], abs=1e-4
    )


def test_weights_go_out_in_the_dtype_they_were_stored_in(pairs: str, tmp_path: Path) -> None:
    sft = tiny_directory(tmp_path / "sft", tie_word_embeddings=True)
    halved = {name: tensor.bfloat16() for name, tensor in load_file(sft / "model.safetensors").items()}
    save_file(halved, sft / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((sft / "config.json").read_text()) | {"dtype": "bfloat16"}
    (sft / "config.json").write_text(json.dumps(config))
    align("dpo", model=str(sft), data=pairs, out=tmp_path / "run", **QUICK)
    final = load_file(tmp_path / "run" / "final" / "model.safetensors")
    assert {tensor.dtype for tensor in final.values()} == {torch.bfloat16}
    assert set(final) == set(halved)
    assert json.loads((tmp_path / "run" / "final" / "config.json").read_text())["dtype"] == "bfloat16"


def test_an_adapter_trained_further_keeps_its_base(model: str, pairs: str, tmp_path: Path) -> None:
    align("dpo", model=model, data=pairs, out=tmp_path / "first", lora={"rank": 2}, **QUICK)
    align("dpo", model=str(tmp_path / "first" / "final"), data=pairs, out=tmp_path / "second", **QUICK)
    config = json.loads((tmp_path / "second" / "final" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(Path(model).resolve())


def test_an_adapter_on_embeddings_is_part_of_the_reference(model: str, pairs: str, tmp_path: Path) -> None:
    asked = recipe("dpo", learning_rate=1e-2).replace(references={"initial": Frozen()})
    asked = asked.replace(update=asked.update.replace(warmup_steps=0))
    lora = {"rank": 2, "targets": ["embed_tokens"]}
    align(asked, model=model, data=pairs, out=tmp_path / "first", lora=lora, **QUICK)
    result = align(asked, model=str(tmp_path / "first" / "final"), data=pairs, out=tmp_path / "second", **QUICK)
    assert result.summary["step0"]["drift"] <= 1e-4


def test_samples_answer_the_prompts_of_a_file(model: str, pairs: str, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("hello there\n\nand you?\n")
    asked = QUICK | {"samples": 2, "prompts": tmp_path / "prompts.txt"}
    align("dpo", model=model, data=pairs, out=tmp_path / "run", **asked)
    shown = json.loads((tmp_path / "run" / "samples.json").read_text())
    assert ["hello there" in shown[0]["prompt"], "and you?" in shown[1]["prompt"]] == [True, True]


def test_the_final_model_has_the_template_that_it_was_trained_with(model: str, pairs: str, tmp_path: Path) -> None:
    turns = "{% for m in messages %}[{{ m.role }}] {{ m.content }}</s>\n{% endfor %}"
    text = turns + "{% if add_generation_prompt %}[assistant] {% endif %}"
    (tmp_path / "own.jinja").write_text(text)
    align("dpo", model=model, data=pairs, out=tmp_path / "run", chat_template=tmp_path / "own.jinja", **QUICK)
    assert AutoTokenizer.from_pretrained(tmp_path / "run" / "final").chat_template == text


def test_the_trial_counts_a_judge_in_memory(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = list[int]()

    def found(trial: MemoryTrial, **_: object) -> int:
        later.append(sum(trial.later.values()))
        trial.parts = trial.later
        return 1000

    monkeypatch.setattr(session, "find_budget", found)
    (tmp_path / "prompts.txt").write_text("hello there\n")
    steps = Steps(TokenizedRows.of(rows_of([(4, (3, 2))] * 4)), 4)
    for judge in (None, judge_of(f"reward:{model}")):
        run = Run(model=model, data=[], out=tmp_path, prompts=tmp_path / "prompts.txt", judge=judge)
        session.begin(recipe("online_dpo"), run, (steps, None), saved=None, watch=Silent())
    judge = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    assert later[1] - later[0] == 4 * sum(p.numel() for p in judge.parameters())
