"""`truenorth judge` as it is typed: who wins, what is refused, and what a killed command keeps."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.tiny import tiny_directory
from truenorth import win_rate
from truenorth.cli import app
from truenorth.errors import SettingsError
from truenorth.online.sampler import Local

PROMPTS = ("Who is old?", "What does Ada play?", "Where is the mill?")


def run(*args: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["judge", *args])


def write(file: Path, answers: Sequence[Any], prompts: Sequence[Any] = PROMPTS) -> str:
    rows = (json.dumps({"prompt": p, "responses": a}) + "\n" for p, a in zip(prompts, answers, strict=True))
    file.write_text("".join(rows))
    return str(file)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [str(tiny_directory(folder / name, seed=seed)) for seed, name in enumerate("ab")]


def better(prompt: object, a: str, b: str) -> float:
    """A pairwise judge that likes the first place, and more of the letter e."""
    del prompt
    return min(1.0, 0.6 + 0.1 * (a.count("e") - b.count("e"))) if a != b else 0.9


def no_mills(prompt: Any, answer: str) -> float:
    if "mill" in str(prompt):
        raise ValueError("a mill")
    return float(len(answer))


def test_files_of_answers_are_judged_both_ways(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [["The mill.", "me"], ["flute"], ["here"]])
    b = write(tmp_path / "b.jsonl", [["bell"], ["no", "The flute"], ["here"]])
    asked = ["--judge", f"{__name__}:better", "--json"]
    ours, theirs = (
        json.loads(run("--answers", *sides, *asked).stdout) for sides in ((a, "--against", b), (b, "--against", a))
    )
    assert ours["raw"]["value"] == pytest.approx(1 - theirs["raw"]["value"])
    assert ours["controlled"]["value"] == pytest.approx(1 - theirs["controlled"]["value"])
    assert (ours["won"], ours["even"], ours["lost"]) == (theirs["lost"], theirs["even"], theirs["won"])
    assert ours["even"] >= 1  # the same answer, whatever the judge makes of places


def test_a_model_against_itself_is_even_and_its_answers_are_kept(models: list[str], tmp_path: Path) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "out"
    prompts.write_text("\n".join(PROMPTS))
    asked = ["--model", models[0], "--against", models[0], "--prompts", str(prompts), "--out", str(out)]
    found = run(*asked, "--judge", "tests.judged:length", "--max-new-tokens", "5")
    assert found.exit_code == 0, found.output
    numbers = json.loads((out / "win_rate.json").read_text())
    assert numbers["raw"] == {"value": 0.5, "low": 0.5, "high": 0.5, "count": 3}
    assert found.stdout.splitlines()[-1] == f"{out}/win_rate.html"
    assert "cannot be told from" in (out / "win_rate.html").read_text()
    names = ("against-answers.jsonl", "model-answers.jsonl", "verdicts.jsonl", "win_rate.html", "win_rate.json")
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    for name in names[:3]:
        assert len((out / name).read_text().splitlines()) == len(PROMPTS)


def test_python_gives_what_the_command_prints(tmp_path: Path) -> None:
    a, b = (write(tmp_path / f"{name}.jsonl", ["The mill.", name, "here"]) for name in ("bell", "me"))
    found = json.loads(run("--answers", a, "--against", b, "--judge", "tests.judged:length", "--json").stdout)
    rate = win_rate(answers=a, against=b, judge="tests.judged:length")
    written = json.loads(json.dumps(rate.to_dict()))
    assert written == {name: found[name] for name in written}
    assert rate.raw.value > 0.5
    with pytest.raises(SettingsError, match="no setting 'temprature'"):
        win_rate(answers=a, against=b, judge="tests.judged:length", temprature=1)


class Killed(Exception):
    """Stands for a kill."""


def test_a_killed_command_draws_only_what_is_missing(
    models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS))
    asked = ["--model", models[0], "--against", models[1], "--prompts", str(prompts), "--judge", "tests.judged:length"]
    asked += ["--max-new-tokens", "5", "--k", "2", "--json"]
    whole = json.loads(run(*asked, "--out", str(tmp_path / "whole")).stdout)
    with monkeypatch.context() as patch:
        patch.setattr("truenorth.online.answers_file.AnswersFile.append", killing(4))
        assert isinstance(run(*asked, "--out", str(tmp_path / "out")).exception, Killed)
    with monkeypatch.context() as patch:
        patch.setattr("truenorth.online.answers_file.AnswersFile.append", killing(2))
        found = run(*asked, "--out", str(tmp_path / "out"))
    assert json.loads(found.stdout) == whole
    monkeypatch.setattr(Local, "answers", None)  # nothing is left to draw
    assert json.loads(run(*asked, "--out", str(tmp_path / "out")).stdout) == whole


def killing(after: int) -> Callable[..., None]:
    from truenorth.online.answers_file import AnswersFile

    append, left = AnswersFile.append, after

    def killed(self: AnswersFile, *args: Any) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        append(self, *args)

    return killed


def test_prompts_that_are_left_out_are_counted_with_their_reason(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [["x"], ["y"], ["z"], ["u"]], [*PROMPTS, "Only ours?"])
    messages = [[{"role": "user", "content": prompt}] for prompt in (*PROMPTS, "Only theirs?")]
    b = write(tmp_path / "b.jsonl", ["xx", "yy", "zz", "uu"], messages)
    found = run("--answers", a, "--against", b, "--judge", f"{__name__}:no_mills", "--json")
    numbers = json.loads(found.stdout)
    assert numbers["left_out"] == {
        "a mill (2 of 2 questions without an answer)": 1,
        "no answer of theirs": 1,
        "no answer of ours": 1,
    }
    assert numbers["raw"]["count"] == 2
    assert numbers["raw"]["value"] == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--k", "2"], "judge needs --judge"),
        (["--judge", "wrld"], "there is no judge 'wrld'. Did you mean world?"),
        (["--judge", "world"], "judge needs --model MODEL or --answers FILE"),
        (["--judge", "world", "--model", "owner/name"], "judge needs --against"),
        (["--judge", "world", "--model", "./no", "--against", "x"], "there is no model folder ./no"),
        (["--judge", "world", "--model", "owner/name", "--against", "owner/other"], "judge needs --out"),
        (["--judge", "world", "--model", "owner/name", "--against", "owner/other", "--out", "o"], "--prompts FILE"),
        (["--judge", "world", "--answers", "no.jsonl", "--against", "owner/other"], "no.jsonl does not exist"),
        (["--judge", "world", "--answers", "README.md", "--against", "no.jsonl"], "unknown ending"),
        (["--judge", "world", "--model", "owner/name", "--against", "no.csv", "--out", "o"], "no.csv does not exist"),
        (["--judge", "world", "--answers", "a", "--against", "b", "--out", "README.md"], "--out takes a folder"),
        (["--judge", "tests.judged:nothing", "--answers", "a", "--against", "b"], "cannot be imported"),
        (["--judge", "world", "--set", "run.judge.attempts=0", "--answers", "a", "--against", "b"], "attempts must"),
        (["--judge", "world", "--set", "attempt=2", "--answers", "a", "--against", "b"], "Did you mean attempts?"),
        (["--judge", "reward", "--answers", "a", "--against", "b"], "model"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(line: list[str], message: str) -> None:
    found = run(*line)
    assert found.exit_code == 1
    assert message in found.output
    assert "Traceback" not in found.output


def test_a_judge_that_says_nothing_ends_with_its_reason(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [["x"], ["y"], ["z"]])
    found = run("--answers", a, "--against", a, "--judge", "world")
    assert found.exit_code == 1
    assert "no prompt was judged: 3 x The world" in found.output or "no prompt was judged" in found.output
    assert "knows no request" in found.output


def test_messages_need_a_chat_template(models: list[str], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    bare = tiny_directory(tmp_path / "bare")
    tokenizer = AutoTokenizer.from_pretrained(bare)
    tokenizer.chat_template = None
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(bare)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"prompt": [{"role": "user", "content": "Who is old?"}]}) + "\n")
    asked = ["--against", models[0], "--prompts", str(prompts), "--out", str(tmp_path / "out")]
    found = run("--model", str(bare), *asked, "--judge", "tests.judged:length")
    assert found.exit_code == 1
    assert "has no chat template" in found.output
