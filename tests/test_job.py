"""A run from end to end, on a tiny model: what comes out, what is refused, and that it goes on where it was killed."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tiny import tiny_directory
from truenorth import align, job, methods
from truenorth.errors import CheckpointError, DataError, SettingsError
from truenorth.methods import load, override, recipe
from truenorth.models.references import Frozen, OtherModel

QUICK = {"batch_size": 4, "precision": "float32", "samples": 0}


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    draw, words = random.Random(0), ["the", "boat", "is", "slow", "and", "green", "but", "we", "like", "it"]
    file = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What of number {i}?"}],
            "chosen": [{"role": "assistant", "content": " ".join(draw.choices(words, k=draw.randint(3, 9)))}],
            "rejected": [{"role": "assistant", "content": " ".join(draw.choices(words, k=draw.randint(3, 9)))}],
        }
        for i in range(24)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(next((out / "final").glob("*.safetensors")))


def test_the_final_model_loads_and_generates(model: str, pairs: str, tmp_path: Path) -> None:
    result = align("dpo", model=model, data=pairs, eval_data=pairs, out=tmp_path / "run", **QUICK | {"samples": 1})
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "final")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "final")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert loaded.generate(**prompt, max_new_tokens=3, do_sample=False).shape[1] > prompt["input_ids"].shape[1]
    assert result.report == tmp_path / "run" / "report.html"
    names = {"run.yaml", "metrics.jsonl", "account.json", "samples.json", "summary.json", "checkpoints", "report.html"}
    assert names <= {path.name for path in (tmp_path / "run").iterdir()}
    assert 0 <= result.summary["evaluation"]["after"]["rewards/accuracies"] <= 1


def test_an_adapter_knows_its_base_and_the_base_is_untouched(model: str, pairs: str, tmp_path: Path) -> None:
    before = load_file(Path(model) / "model.safetensors")
    align("dpo", model=model, data=pairs, out=tmp_path / "run", lora={"rank": 4}, **QUICK)
    base = AutoModelForCausalLM.from_pretrained(model)
    adapted = PeftModel.from_pretrained(base, str(tmp_path / "run" / "final"))
    assert adapted.peft_config["default"].base_model_name_or_path == str(Path(model).resolve())
    assert any(bool(p.any()) for name, p in adapted.named_parameters() if ".lora_B." in name)
    after = load_file(Path(model) / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_one_seed_gives_the_same_bits_twice_and_another_seed_others(model: str, pairs: str, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        align("exo", model=model, data=pairs, out=tmp_path / name, seed=seed, lora={"rank": 2}, **QUICK)
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


@pytest.mark.parametrize("kind", ["frozen", "model"])
def test_every_way_to_hold_the_reference_trains_alike(kind: str, model: str, pairs: str, tmp_path: Path) -> None:
    reference = Frozen() if kind == "frozen" else OtherModel(path=model)
    fast = recipe("exo", learning_rate=1e-3)
    align(fast, model=model, data=pairs, out=tmp_path / "cached", **QUICK)
    other = fast.replace(references={"initial": reference})
    align(other, model=model, data=pairs, out=tmp_path / "other", **QUICK)
    ours, theirs = weights(tmp_path / "cached"), weights(tmp_path / "other")
    start = load_file(Path(model) / "model.safetensors")
    moved = torch.cat([(ours[name] - start[name]).flatten() for name in ours]).norm()
    apart = torch.cat([(ours[name] - theirs[name]).flatten() for name in ours]).norm()
    assert apart <= 0.01 * moved  # packed in other micro-batches, so not to the bit


def test_the_first_step_is_checked_against_theory(model: str, pairs: str, tmp_path: Path) -> None:
    result = align("dpo", model=model, data=pairs, out=tmp_path / "run", max_steps=1, **QUICK)
    check = result.summary["step0"]
    assert check["expected"] == pytest.approx(0.693147, abs=1e-6)
    assert check["measured"] == pytest.approx(check["expected"], abs=1e-5)


def test_a_run_directory_is_not_written_over(model: str, pairs: str, tmp_path: Path) -> None:
    align("sft", model=model, data=pairs, columns={"response": "chosen"}, out=tmp_path / "run", max_steps=1, **QUICK)
    with pytest.raises(SettingsError, match=r"holds a run already.*--resume"):
        align("dpo", model=model, data=pairs, out=tmp_path / "run", **QUICK)


def test_a_finished_run_says_so_before_anything_is_loaded(
    model: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = QUICK | {"model": model, "data": pairs, "out": tmp_path / "run", "max_steps": 1}
    first = align("dpo", **asked)
    for name in ("load_tokenizer", "prepare", "begin"):
        monkeypatch.delattr(job, name)
    again = align("dpo", resume=True, **asked)
    assert (again.report, again.summary) == (first.report, json.loads((tmp_path / "run/summary.json").read_text()))


def test_a_resumed_run_that_is_asked_something_else_is_refused(model: str, pairs: str, tmp_path: Path) -> None:
    align("dpo", model=model, data=pairs, out=tmp_path / "run", max_steps=1, **QUICK)
    with pytest.raises(CheckpointError, match=r"recipe\.objective\.beta was 0\.1 .* is 0\.2 now"):
        align(
            recipe("dpo", beta=0.2), model=model, data=pairs, out=tmp_path / "run", max_steps=1, resume=True, **QUICK
        )


def test_data_that_cannot_be_trained_on_leave_nothing_behind(model: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(json.dumps({"prompt": "Hello", "chosen": "same", "rejected": "same"}) + "\n")
    with pytest.raises(DataError, match="identical_answers"):
        align("dpo", model=model, data=str(file), out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


def test_rows_longer_than_the_models_context_are_refused_before_it_is_loaded(pairs: str, tmp_path: Path) -> None:
    short = str(tiny_directory(tmp_path / "short", max_position_embeddings=16))
    with pytest.raises(SettingsError, match=r"has a context of 16 tokens.*--max-length 16 with --too-long"):
        align("dpo", model=short, data=pairs, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


RUN = """
import sys
from truenorth import align
model, pairs, out = sys.argv[1:]
align("dpo", model=model, data=pairs, eval_data=pairs, out=out, resume=True, epochs=3, batch_size=4, samples=1,
      precision="float32", save_every=2, eval_every=3)
"""


def killed_until_done(model: str, pairs: str, out: Path, *, kills: int, seed: int) -> int:
    """Run in processes that are killed at random moments, `kills` times; how many died."""
    draw, died = random.Random(seed), 0
    command = [sys.executable, "-W", "ignore", "-c", RUN, model, pairs, str(out)]
    while True:
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        if died < kills:
            began = _wait_for(out / "run.yaml", process)
            if began:
                time.sleep(draw.uniform(0, 3))
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        if process.returncode == 0:
            return died
        assert process.returncode == -signal.SIGKILL, errors.decode()[-2000:]
        died += 1


def _wait_for(file: Path, process: "subprocess.Popen[bytes]") -> bool:
    while process.poll() is None and not file.exists():
        time.sleep(0.05)
    return process.poll() is None


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_runs_end_with_the_same_bits(kills: int, model: str, pairs: str, tmp_path: Path) -> None:
    assert killed_until_done(model, pairs, tmp_path / "whole", kills=0, seed=0) == 0
    killed_until_done(model, pairs, tmp_path / "killed", kills=kills, seed=kills)
    ours, theirs = weights(tmp_path / "killed"), weights(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    logs = [
        [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in log.read_text().splitlines()]
        for log in (tmp_path / "killed" / "metrics.jsonl", tmp_path / "whole" / "metrics.jsonl")
    ]
    assert logs[0] == logs[1]


def test_a_run_of_a_sum_says_so_wherever_it_says_its_method(model: str, pairs: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    summed = override(recipe("dpo + 0.1*sft_chosen"), "sft_chosen.weight", 0.3)
    result = align(summed, model=model, data=pairs, out=out, **QUICK)
    assert result.summary["method"] == "dpo + 0.3*sft_chosen"
    title = "Direct Preference Optimization + 0.3*Supervised fine-tuning on the best of a prompt's responses"
    assert result.summary["title"] == title
    assert [citation.partition("arXiv:")[2][:10] for citation in result.summary["citations"]] == [
        "2305.18290",
        "2203.02155",
    ]
    check = result.summary["step0"]
    assert check["measured"] == pytest.approx(check["expected"], rel=1e-5)
    card = (out / "final" / "README.md").read_text()
    assert title in card
    assert "- dpo\n- sft_chosen\n" in card
    assert {"2305.18290", "2203.02155"} <= set(re.findall(r"\d{4}\.\d{5}", (out / "report.html").read_text()))
    assert load(yaml.safe_load((out / "run.yaml").read_text())["recipe"]) == summed


@pytest.fixture
def demonstrations(tmp_path: Path) -> str:
    file = tmp_path / "demos.jsonl"
    rows = [
        {
            "prompt": [{"role": "user", "content": f"And {i}?"}],
            "completion": [{"role": "assistant", "content": "Slow."}],
        }
        for i in range(9)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_pairs_and_demonstrations_are_trained_on_together(
    model: str, pairs: str, demonstrations: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    align("aihf", model=model, data=[pairs, demonstrations], eval_data=pairs, out=out, **QUICK)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["split"] == "train"]
    assert sum("logps/demonstrations" in line for line in train) >= 3  # 9 of them, 4 rows a step
    lengths = {line["lengths/demonstrations"] for line in train if "lengths/demonstrations" in line}
    assert len(lengths) == 1  # all are one answer
    assert json.loads((out / "account.json").read_text())["statistics"]["candidates"] == {"1": 9, "2": 24}
    assert "Answers to a prompt" in (out / "report.html").read_text()


def test_demonstrations_that_are_missing_are_said_before_a_model_is_loaded(
    pairs: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("truenorth.session.load_policy", lambda _: pytest.fail("a model was loaded"))
    with pytest.raises(DataError, match=r"24 pairs and no demonstration\. .*without demonstrations take dpo"):
        align("aihf", model=model, data=pairs, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


def test_a_setting_of_the_recipe_is_refused_with_what_sets_it(model: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        align("online_dpo", model=model, prompts="p.jsonl", judge="world", out=tmp_path / "out", rounds=2)
    (made,) = re.findall(r"align\((.*), \.\.\.\)", str(caught.value))
    schedule = eval(made, {"methods": methods}).schedule
    assert schedule == methods.recipe("online_dpo").schedule.replace(rounds=2)  # pyright: ignore
