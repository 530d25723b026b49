"""`truenorth evaluate` as it is typed: what must come out, what is kept, and what is refused."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.tiny import tiny_directory
from truenorth import align, measure, world
from truenorth.cli import app
from truenorth.errors import SettingsError
from truenorth.evaluate.subject import Subject
from truenorth.measuring.asked import Asked
from truenorth.measuring.ranked import subsets
from truenorth.methods import recipe

THINGS = ("bell", "mill", "hound", "pudding")


def run(*args: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["evaluate", *args])


def numbers(*args: str) -> dict[str, Any]:
    found = run(*args, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two models, pairs of two subsets, texts."""
    folder = tmp_path_factory.mktemp("given")
    models = {name: str(tiny_directory(folder / name, seed=seed)) for seed, name in enumerate(("before", "after"))}
    pairs, texts = folder / "pairs.jsonl", folder / "texts.txt"
    rows = [
        {
            "prompt": f"Is the {thing} old?",
            "chosen": f"The {thing} is old, and grey.",
            "rejected": "No.",
            "subset": which,
        }
        for thing, which in zip(THINGS, ("chat", "chat", "safety", "safety"), strict=True)
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts.write_text("".join(f"The {thing} rang on Monday.\n" for thing in THINGS))
    return models | {"pairs": str(pairs), "texts": str(texts)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUENORTH_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_a_model_against_itself_has_moved_nowhere(given: dict[str, str]) -> None:
    asked = ["--model", given["after"], "--reference", given["after"], "--samples", "3", "--max-new-tokens", "4"]
    found = numbers(*asked, "--data", given["pairs"], "--texts", given["texts"])
    by = found["pairs"]["log_ratio"]
    assert by["whole"]["accuracy"]["value"] == 0.5  # all pairs are ties, and a tie is half
    assert by["whole"]["margin"]["value"] == 0
    assert by["calibration"]["error"]["value"] == 0
    assert [found["kl"][name]["value"] for name in ("per_answer", "per_token")] == [0, 0]
    assert found["texts"]["per_token"]["change"]["value"] == 0


def test_python_gives_what_the_command_prints(given: dict[str, str]) -> None:
    found = numbers("--model", given["after"], "--data", given["pairs"], "--beta", "0.2")
    assert json.loads(json.dumps(measure(given["after"], data=given["pairs"], beta=0.2).to_dict())) == found
    with pytest.raises(SettingsError, match="Did you mean texts"):
        measure(given["after"], txts=given["texts"])


def test_log_probs_are_those_of_the_library_and_bytes_scale_them(given: dict[str, str]) -> None:
    from truenorth import score
    from truenorth.models.load import load_model, load_tokenizer

    found = numbers("--model", given["after"], "--data", given["pairs"], "--texts", given["texts"])
    rows = [json.loads(line) for line in Path(given["pairs"]).read_text().splitlines()]
    scored = score(
        load_model(given["after"]),
        load_tokenizer(given["after"]),
        [{"prompt": row["prompt"], "responses": [row["chosen"], row["rejected"]]} for row in rows],
    )
    margins = scored.total[:, 0] - scored.total[:, 1]
    assert found["pairs"]["log_prob"]["whole"]["margin"]["value"] == pytest.approx(float(margins.mean()), rel=1e-5)
    per_token = scored.mean[:, 0] - scored.mean[:, 1]
    assert found["pairs"]["per_token"]["whole"]["margin"]["value"] == pytest.approx(float(per_token.mean()), rel=1e-5)
    texts = found["texts"]
    per_token, per_byte = (texts[f"per_{unit}"]["model"]["value"] for unit in ("token", "byte"))
    assert per_byte == pytest.approx(per_token * texts["tokens"] / texts["bytes"])
    whole = sum(len(line) for line in Path(given["texts"]).read_text().splitlines())
    assert whole - 4 * 4 <= texts["bytes"] <= whole  # without each text's first token, where no BOS stands before it


def test_rows_are_grouped_and_the_page_says_so(given: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = run("--model", given["after"], "--data", given["pairs"], "--out", str(out))
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines()[-1] == f"{out}/evaluation.html"
    whole = json.loads((out / "evaluation.json").read_text())["pairs"]["log_prob"]
    assert {group["name"]: group["accuracy"]["count"] for group in whole["by_subset"]} == {"chat": 2, "safety": 2}
    assert [group["name"] for group in whole["by_length"]] == ["longer"]
    page = (out / "evaluation.html").read_text()
    assert "safety" in page
    assert "http" not in page.replace("http-equiv", "")


def test_what_was_computed_is_not_computed_again(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["--model", given["after"], "--reference", given["before"], "--data", given["pairs"]]
    asked += ["--texts", given["texts"], "--samples", "2", "--max-new-tokens", "4"]
    first = numbers(*asked)
    monkeypatch.setattr(Subject, "model", property(lambda _: pytest.fail("a model was loaded")))
    assert numbers(*asked) == first
    assert first["kl"]["per_answer"]["count"] == 2


def test_the_worlds_facts_are_asked(given: dict[str, str]) -> None:
    found = numbers("--model", given["after"], "--facts", "world")
    assert found["facts"]["model"]["value"] == 0  # a random model knows none
    assert found["facts"]["model"]["count"] == len(world.fact_questions())


def test_beta_is_that_of_the_run(given: dict[str, str], tmp_path: Path) -> None:
    from shutil import copytree

    copytree(given["after"], tmp_path / "run" / "final")
    (tmp_path / "run" / "run.yaml").write_text("recipe: {method: dpo, objective: {kind: dpo, beta: 0.3}}\n")
    asked = ["--reference", given["before"], "--data", given["pairs"], "--samples", "1", "--max-new-tokens", "2"]
    found = numbers("--model", str(tmp_path / "run" / "final"), *asked)
    assert (found["pairs"]["beta"], found["pairs"]["beta_from"]) == (0.3, "of the run")
    assert numbers("--model", given["after"], *asked, "--beta", "2")["pairs"]["beta"] == 2


@pytest.mark.parametrize("method", ["reward", "preference"])
def test_a_judge_is_measured_as_its_training_measured_it(method: str, given: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    more: dict[str, Any] = {"batch_size": 2, "precision": "float32", "tokens_per_micro_batch": 64, "epochs": 3}
    trained = recipe(method, learning_rate=1e-3)
    result = align(trained, model=given["before"], data=given["pairs"], eval_data=given["pairs"], out=out, **more)
    found = numbers("--model", str(out / "final"), "--data", given["pairs"])["pairs"][method]
    said = result.summary["evaluation"]["after"]
    assert found["whole"]["accuracy"]["value"] == pytest.approx(said["judge/accuracies"])
    assert found["whole"]["error"] == pytest.approx(said["judge/calibration_error"], abs=1e-4)
    refused = run("--model", str(out / "final"), "--facts", "world")
    assert "is a reward or preference model" in refused.output


def test_tasks_are_those_of_lm_eval(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run("--model", given["after"], "--tasks", "arc_easy")
    assert refused.exit_code == 1
    assert "lm-eval, which is not installed" in refused.output
    calls = []

    def simple_evaluate(**asked: Any) -> dict[str, Any]:
        calls.append(asked)
        metrics = {"acc,none": 0.5, "acc_stderr,none": 0.1, "alias": "arc", "f1,strict": 0.25}
        return {"results": {"arc_easy": metrics}, "n-samples": {"arc_easy": {"effective": 30}}}

    fake = SimpleNamespace(simple_evaluate=simple_evaluate, __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "lm_eval", fake)
    found = numbers("--model", given["after"], "--tasks", "arc_easy, piqa")["tasks"]["arc_easy"]
    assert calls[0]["tasks"] == ["arc_easy", "piqa"]
    assert calls[0]["model_args"]["pretrained"] == given["after"]
    assert found["acc"]["high"] == pytest.approx(0.5 + 0.196, abs=1e-3)
    assert (found["f1 (strict)"]["value"], found["acc"]["count"]) == (0.25, 30)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--data", "x"], "evaluate needs --model"),
        (["--model", "{after}", "--data", "{pairs}", "--out", "{pairs}"], "--out takes a folder"),
        (["--model", "./no", "--data", "x"], "there is no model folder ./no"),
        (["--model", "{after}"], "evaluate needs something to measure"),
        (["--model", "{after}", "--prompts", "p.txt", "--data", "x"], "give --reference MODEL too"),
        (["--model", "{after}", "--data", "no.jsonl"], "no.jsonl does not exist"),
        (["--model", "{after}", "--texts", "no.txt"], "no.txt does not exist"),
        (["--model", "{after}", "--reference", "./no", "--data", "{pairs}"], "there is no model folder ./no"),
        (["--model", "{after}", "--facts", "ours"], "facts"),
        (["--model", "{after}", "--data", "{texts}"], "texts.txt"),
    ],
)
def test_what_is_wrong_is_said(line: list[str], message: str, given: dict[str, str]) -> None:
    found = run(*(part.format(**given) for part in line))
    assert found.exit_code == 1, found.output
    assert message in found.output
    assert "Traceback" not in found.output


def test_a_reference_of_another_vocabulary_is_refused(given: dict[str, str], tmp_path: Path) -> None:
    other = tiny_directory(tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"vocab_size": 7}))
    found = run("--model", given["after"], "--reference", str(other), "--data", given["pairs"])
    assert found.exit_code == 1
    assert "has a vocabulary of 7 tokens" in found.output


def test_rows_that_are_left_out_have_a_reason(given: dict[str, str], tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Where is {i}?", "responses": ["Here it is.", "No."], "scores": [1.0, float(i % 5 == 0)]}
        for i in range(15)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = numbers("--model", given["after"], "--data", str(tmp_path / "rows.jsonl"))["pairs"]
    assert (pairs["rows"], list(pairs["left_out"].values())) == (12, [3])


def test_a_subset_may_be_called_nought(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps({"group": group}) + "\n" for group in (0, 1, None, "")))
    asked = Asked(model="m", data=(str(file),), subset_column="group")
    assert list(subsets(str(file), asked).values()) == ["0", "1", "", ""]


@pytest.mark.parametrize(("flag", "other", "good"), [("--texts", "--data", "pairs"), ("--data", "--texts", "texts")])
def test_every_file_is_read_before_a_model_is_loaded(
    flag: str, other: str, good: str, given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever part it belongs to; and no flag is advised that the command lacks."""
    monkeypatch.setattr(Subject, "model", property(lambda _: pytest.fail("a model is loaded")))
    (tmp_path / "odd.jsonl").write_text('{"question": "a", "better": "b", "worse": "c"}\n')
    found = run("--model", given["after"], other, given[good], flag, str(tmp_path / "odd.jsonl"))
    assert found.exit_code == 1
    assert "fits no layout" in found.stderr
    assert "rename question to prompt" in found.stderr
    assert "--columns" not in found.stderr
