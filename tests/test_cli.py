"""What the command line asks for, what it refuses, and what it says then."""

import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.online.completion_server import Script, serving
from truenorth import job, methods, world
from truenorth.cli import app
from truenorth.errors import SettingsError
from truenorth.flags import FLAGS, Flag, default_of, help_of, settings_of, spread
from truenorth.methods import override, recipe
from truenorth.names import fields_in
from truenorth.request import Request, request
from truenorth.run import Run
from truenorth.settings import table

MUST = {"model": "m", "data": ["a.jsonl"], "out": "o"}
HERE = ("--model", str(world.sft_model()), "--data", str(world.reviews()), "--out", "o")  # that are there, and free
SLOW = ("torch", "transformers", "datasets", "matplotlib")


def run(*args: str, width: int = 120) -> Result:
    return CliRunner().invoke(app, args, env={"COLUMNS": str(width), "TERM": "dumb", "NO_COLOR": "1"})


def refusal(*args: str) -> str:
    """What a command says that ends with exit code 1."""
    result = run(*args)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return result.stderr


def asked(*args: str, target: str = "exo", **given: Any) -> Request:
    return request(target, MUST | given, args)


def write(path: Path, data: Mapping[str, Any]) -> str:
    path.write_text(yaml.safe_dump(dict(data)))
    return str(path)


@pytest.mark.parametrize(
    "line",
    [
        ["--help"],
        ["train", "--help"],
        ["train", "exo", "--model", "m", "--data", "d", "--out", "o", "--set", "bta=1"],
        ["train", "exoo", "--model", "m", "--data", "d", "--out", "o"],
        ["train", "exo", "--model", "m", "--data", "d", "--out", "o", "--batch-size", "0"],
        ["train", "exo", "--model", "m", "--data", "d", "--out", "o", "--set", "update.warmup_stps=3"],
        ["train", "exo", "--model", "./nothere", "--data", "d", "--out", "o"],
        ["train", "exo", "--model", "owner/name", "--data", "nothere.jsonl", "--out", "o"],
        ["train", "exo", "--model", "m", "--data", "d", "--out", "tests"],
        ["train", "nothere", "--resume", "--model", "m", "--data", "d", "--out", "o"],
        ["plan", "--help"],
        ["plan", "exo", "--model", "./nothere", "--data", "d"],
        ["plan", "exo", "--model", "owner/name", "--stream", "nothere.jsonl"],
        ["plan", "mpo", "--model", "owner/name", "--prompts", "README.md", "--judge", "nothere:reward"],
        ["inspect", "nothere.jsonl", "--model", "m"],
        ["methods", "ties"],
        ["train", "exo", "pairs.jsonl", "--model", "m", "--out", "o"],
        ["merge", "soup", "a", "b", "--out", "o"],
        ["merge", "--help"],
        ["merge", "tie", "--models", "a", "b", "--out", "o"],
        ["merge", "ties", "--models", "a", "b", "--base", "c", "--out", "o", "--set", "kep=1"],
        ["merge", "ties", "--models", "a", "b", "--base", "c", "--out", "o", "--set", "keep=1.5"],
        ["merge", "ties", "--models", "a", "b", "--out", "o"],
        ["merge", "soup", "--models", "./nothere", "b", "--out", "o"],
        ["merge", "soup", "--models", "a", "b", "--out", "tests"],
        ["judge", "--model", "./nothere", "--against", "b", "--judge", "world"],
        ["judge", "--answers", "nothere.jsonl", "--against", "b", "--judge", "world"],
        ["evaluate", "--help"],
        ["evaluate", "--model", "./nothere", "--data", "x"],
        ["evaluate", "--model", "owner/name", "--data", "nothere.jsonl"],
    ],
    ids=" ".join,
)
def test_nothing_slow_is_imported_for_help_or_a_typo(line: list[str]) -> None:
    code = (
        "import sys\nfrom truenorth.cli import app\n"
        f"try:\n    app({line!r})\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {SLOW} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_help_lists_every_command() -> None:
    text = run("--help").stdout
    names = "train inspect methods merge games generate judge evaluate report demo --version"
    assert all(name in text for name in names.split())


def test_every_setting_of_the_run_has_a_flag() -> None:
    assert {flag.path.split(".")[1] for flag in FLAGS if flag.path.startswith("run.")} == set(Run.model_fields)


def test_help_shows_the_default_of_the_setting() -> None:
    defaults = {row["name"]: row["default"] for row in table(Run)}
    shown = [
        flag
        for flag in FLAGS
        if flag.path.removeprefix("run.") in defaults and default_of(flag) not in ("", "required")
    ]
    assert shown
    assert all(help_of(flag).endswith(f"(default {defaults[flag.path.removeprefix('run.')]})") for flag in shown)


def test_several_values_may_follow_one_flag() -> None:
    one = spread(["exo", "--data", "a", "b", "--out", "o"], {"--data"})
    assert one == ["exo", "--data", "a", "--data", "b", "--out", "o"]


def test_a_repeated_flag_stays_as_it_is() -> None:
    line = ["exo", "--data", "a", "--data", "b", "-m", "x"]
    assert spread(line, {"--data"}) == line


def test_flags_reach_the_run() -> None:
    wanted = asked(data=["a", "b"], batch_size="8", lora="4", too_long="drop", columns=["prompt=question"]).run
    assert [source.path for source in wanted.data] == ["a", "b"]
    assert (wanted.batch_size, wanted.too_long, wanted.columns) == (8, "drop", {"prompt": "question"})
    assert wanted.lora is not None
    assert wanted.lora.rank == 4


def test_learning_rate_is_an_alias_of_the_updates_setting() -> None:
    assert asked(learning_rate="3e-6").recipe() == asked("update.learning_rate=3e-6").recipe()


def test_a_bare_key_sets_the_objective() -> None:
    assert asked("beta=0.3").recipe() == methods.recipe("exo", beta=0.3)


def test_a_path_sets_any_part_of_the_run() -> None:
    lora = asked("run.lora.alpha=32", "run.lora.targets=[q_proj, v_proj]", lora="8").run.lora
    assert lora is not None
    assert (lora.rank, lora.alpha, lora.targets) == (8, 32.0, ["q_proj", "v_proj"])


def test_reference_takes_a_kind_or_the_path_of_a_model() -> None:
    frozen, other = (asked(reference=value).recipe() for value in ("frozen", "other/"))
    assert methods.dump(frozen)["references"] == {"initial": {"kind": "frozen"}}
    assert methods.dump(other)["references"] == {"initial": {"kind": "model", "path": "other/"}}


def test_a_file_asks_for_what_the_flags_ask_for(tmp_path: Path) -> None:
    file = write(
        tmp_path / "run.yaml",
        {"method": "exo", "objective": {"beta": 0.2}, "run": MUST | {"batch_size": 8, "lora": {"rank": 4}}},
    )
    from_file = request(file, {})
    from_flags = asked("beta=0.2", batch_size="8", lora="4")
    assert (from_file.run, from_file.recipe()) == (from_flags.run, from_flags.recipe())


def test_the_file_of_a_run_directory_runs_again(tmp_path: Path) -> None:
    first = asked("beta=0.2", "update.decay=constant", epochs="2", seed="3")
    saved = {"recipe": methods.dump(first.recipe()), "run": first.run.model_dump(mode="json")}
    file = write(tmp_path / "run.yaml", saved)
    for target in (file, str(tmp_path)):
        again = request(target, {})
        assert (again.run, again.recipe()) == (first.run, first.recipe())


def test_flags_go_before_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "run.yaml", {"method": "exo", "run": MUST | {"epochs": 2, "seed": 1}})
    wanted = request(file, {"out": "elsewhere", "max_steps": "5"}, ["beta=0.4"])
    assert (str(wanted.run.out), wanted.run.seed, wanted.run.epochs, wanted.run.max_steps) == ("elsewhere", 1, None, 5)
    assert wanted.recipe() == methods.recipe("exo", beta=0.4)


def test_both_lengths_of_a_run_are_refused() -> None:
    with pytest.raises(SettingsError, match="epochs or max_steps, not both"):
        asked(epochs="1", max_steps="5")


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ("bta=1", "exo has no setting bta. Did you mean beta?"),
        ("update.learnin_rate=1", "update.learnin_rate. Did you mean learning_rate?"),
        ("updat.decay=linear", "there is no updat. Did you mean update? There are method, objective, references"),
        ("schedule.round=2", "Did you mean rounds? Allowed: kind, rounds, compared, prompts, epochs"),
        ("run.lora.rnk=3", "run.lora.rnk. Did you mean rank?"),
        ("run.batchsize=3", "run.batchsize. Did you mean batch_size?"),
        ("batch_size=3", "give it as --batch-size"),
        ("beta", "--set takes NAME=VALUE, got 'beta'"),
        ("run.seed=[1", "--set run.seed: '[1' is no YAML value"),
        ("beta=-1", "EXO's beta must lie in (0, inf), got -1"),
        ("update.kind=adam", "no kind 'adam'. Did you mean adamw?"),
    ],
)
def test_a_wrong_setting_is_named_with_the_nearest_right_one(sets: str, said: str) -> None:
    assert said in refusal("train", "exo", *HERE, "--set", sets)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"method": "exo", "objectiv": {}}, "there is no setting objectiv here. Did you mean objective?"),
        ({"method": "exo", "objective": {"bta": 1}}, "there is no setting objective.bta. Did you mean beta?"),
        ({"method": "exo", "run": {"modle": "m"}}, "there is no setting run.modle. Did you mean model?"),
        ({"method": "exo", "run": {"lora": {"rnk": 1}}}, "there is no setting run.lora.rnk. Did you mean rank?"),
        ({"method": "exo", "references": {"initial": {"knd": "x"}}}, "references.initial.knd. Did you mean kind?"),
        ({"objective": {"beta": 1}}, "needs `method`"),
        ({"method": "exx"}, "There is no method 'exx'. Did you mean exo?"),
    ],
)
def test_a_typo_in_a_file_is_named_with_the_nearest_name(tmp_path: Path, data: dict[str, Any], said: str) -> None:
    assert said in refusal("train", write(tmp_path / "run.yaml", data))


def test_a_wrong_flag_value_is_said_of_the_flag() -> None:
    assert "--batch-size must lie in (0, inf), got '0'" in refusal(
        "train", "exo", "--model", "m", "--data", "d", "--out", "o", "--batch-size", "0"
    )


def test_what_train_lacks_is_named() -> None:
    assert "train needs --data and --out" in refusal("train", "exo", "--model", "m")
    rounds = refusal("train", "xpo", "--model", "m", "--prompts", "p.jsonl", "--out", "o")
    assert "For instance: truenorth train online_dpo --model my-sft --prompts prompts.jsonl --judge" in rounds
    idle = refusal("train", "exo", "--model", "m", "--data", "d", "--out", "o", "--stream-idle", "3")
    assert "--stream-idle, and no stream: give --stream FILE" in idle


def test_a_setting_given_as_a_flag_is_pointed_to_set() -> None:
    result = run("train", "exo", "--beta", "0.2")
    assert result.exit_code == 2
    assert "--set beta=VALUE" in result.stderr


def test_a_misspelt_flag_is_answered_with_the_nearest() -> None:
    assert "Did you mean --batch-size?" in run("train", "exo", "--bacth-size", "2").stderr


def test_what_is_neither_a_method_nor_a_run_is_said_to_be_neither() -> None:
    said = refusal("train", "nothere", "--resume")
    assert "There is no method 'nothere', and no run directory or YAML file of that name." in said
    assert "truenorth train RUN_DIR --resume" in said
    assert "runs/nothere is no run directory: it does not exist." in refusal("train", "runs/nothere", "--resume")


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    assert "empty.jsonl has no rows: it is empty" in refusal("inspect", str(tmp_path / "empty.jsonl"))


def test_a_missing_file_is_refused_by_name() -> None:
    assert "there is no file none.yaml" in refusal("train", "none.yaml")


@pytest.mark.parametrize("name", methods.METHODS)
def test_names_read_from_the_source_are_those_of_the_objective(name: str) -> None:
    module = methods.METHODS[name].partition(":")[0]
    assert set(type(methods.recipe(name).objective).model_fields) <= set(fields_in(module, name))


def test_methods_as_json_are_what_describe_gives() -> None:
    assert json.loads(run("methods", "exo", "--json").stdout) == methods.describe("exo")


@pytest.mark.parametrize("width", [80, 120])
def test_every_method_is_in_the_table(width: int) -> None:
    text = run("methods", width=width).stdout
    assert all(name in text for name in methods.METHODS)
    assert max(map(len, text.splitlines())) <= width


def test_a_method_shows_its_settings_with_ranges_and_sources() -> None:
    line = next(line for line in run("methods", "exo").stdout.splitlines() if line.startswith("epsilon"))
    assert line.split()[:5] == ["epsilon", "0.001", "ours", "(0,", "0.5)"]


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_method_reads_well_in_eighty_columns(name: str) -> None:
    lines = run("methods", name, width=80).stdout.splitlines()
    first = lines.index("Settings, for --set or YAML") + 2
    table = lines[first : lines.index("", first)]
    rows = [i for i, line in enumerate(table) if line[:1].strip()] + [len(table)]
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert max(b - a for a, b in itertools.pairwise(rows)) <= 3  # lines of a setting


def test_a_loss_has_a_line_for_each_symbol() -> None:
    lines = [line.strip() for line in run("methods", "exo_rw", width=80).stdout.splitlines()]
    first = lines.index("loss        L_exo:  KL( softmax(beta * r) || q )")
    assert lines[first + 1 : first + 3] == [
        "r = log pi(y|x) - log pi_ref(y|x)",
        "q = softmax(reward / reward_temperature)",
    ]


def test_flags_of_other_commands_are_settings_too() -> None:
    assert settings_of({"k": "3"}, [Flag("k", "sampling.k")]) == {"sampling.k": "3"}


def test_a_user_s_own_method_is_described_too() -> None:
    assert "update.learning_rate" in run("methods", "truenorth.methods.dpo:recipe").stdout


@pytest.mark.parametrize("command", ["plan", "evaluate", "merge", "judge", "generate", "inspect"])
def test_who_resumes_what_cannot_be_is_told_what_can(command: str) -> None:
    result = run(command, "x", "--resume")
    assert result.exit_code == 2
    said = " ".join(result.stderr.replace("│", "").split())
    assert "A run goes on by: truenorth train RUN_DIR --resume." in said
    assert ("truenorth plan RUN_DIR" in said) == (command == "plan")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            ("train", "dpo", *HERE[:2], "--stream", "x.jsonl", "--stream-idle", "a", "--out", "o"),
            "--stream-idle must be",
        ),
        (("train", "dpo", *HERE, "--lora", "0"), "--lora must lie in"),
        (("plan", "dpo", *HERE[:4], "--devices", "0"), "--devices must lie in"),
        (("plan", "dpo", *HERE[:4], "--gpu", "cpu"), "Without --gpu it is this CPU"),
        (("plan", "mpo", *HERE[:2], "--prompts", "gone.txt"), "--prompts: gone.txt does not exist"),
        (("train", "cofs_dpo", *HERE, "--set", "domains.ratios=1,1"), "Domains' ratios must be a list in brackets"),
    ],
)
def test_what_is_wrong_is_said_of_what_was_given(line: tuple[str, ...], said: str) -> None:
    assert said in refusal(*line)


def test_a_folder_that_has_a_methods_name_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sft").mkdir()
    assert asked(target="sft").parts == {"method": "sft"}
    write(Path("sft") / "run.yaml", {"method": "exo"})
    assert asked(target="sft").parts == {"method": "exo"}


def test_a_run_directory_is_the_run_wherever_it_was_when_it_began(tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    file = write(moved / "run.yaml", {"recipe": {"method": "dpo"}, "run": MUST | {"out": "where-it-was"}})
    assert request(file, {}).run.out == Path("where-it-was")  # a file of settings: nothing began there
    (moved / ".lock").touch()
    for target in (str(moved), file):
        assert request(target, {}).run.out == moved
        assert request(target, {"out": "elsewhere"}).run.out == Path("elsewhere")
        assert "--resume goes on with the run in" in refusal("train", target, "--resume", "--out", "elsewhere")


def test_an_unknown_method_is_answered_with_the_nearest() -> None:
    assert "Did you mean exo?" in refusal("methods", "exoo")


def test_an_interrupted_run_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "my run"
    interrupted = job.Result(out, None, interrupted=True, summary={})
    monkeypatch.setattr(job, "start", lambda *_, **__: interrupted)
    result = run("train", "exo", *HERE[:4], str(world.reviews_eval()), "--out", str(out))
    assert result.exit_code == 130
    command = result.stderr.splitlines()[-1].strip()
    assert shlex.split(command) == ["truenorth", "train", str(out / "run.yaml"), "--resume"]


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_outside_of_a_step_says_how_to_go_on(
    sent: signal.Signals, begun: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start(*_: object, **__: object) -> None:
        if begun:
            out.mkdir()
            (out / "run.yaml").touch()
        os.kill(os.getpid(), sent)

    out, before = tmp_path / "a run", signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(job, "start", start)
    ended = run("train", "dpo", "--model", HERE[1], "--data", HERE[3], "--out", str(out))
    assert ended.exit_code == 130
    again = shlex.join(["truenorth", "train", str(out / "run.yaml"), "--resume"])
    assert (again if begun else "give the same command again") in ended.stderr
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_elsewhere_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "start", interrupt)
    assert run("train", "exo", *HERE).exit_code == 130


def test_generate_writes_the_answers_of_each_prompt(tmp_path: Path) -> None:
    model, out = str(world.sft_model()), tmp_path / "answers.jsonl"
    line = ("generate", "--model", model, "--prompt", "Hello.", "Who is it?", "--k", "2", "--max-new-tokens", "3")
    assert run(*line, "--out", str(out)).exit_code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["Hello.", "Who is it?"]
    assert all(len(row["responses"]) == len(row["ended"]) == len(row["log_probs"]) == 2 for row in rows)


def test_generate_goes_on_with_what_a_kill_has_left(tmp_path: Path) -> None:
    model, out = str(world.sft_model()), tmp_path / "answers.jsonl"
    line = ("generate", "--model", model, "--prompt", "Hello.", "Who is it?", "--k", "2", "--max-new-tokens", "3")
    run(*line, "--out", str(out))
    whole = out.read_text()
    first, second = whole.splitlines(keepends=True)
    for left in (second, second + first[:20]):  # killed between two lines, and within one
        out.write_text(left)
        again = run(*line, "--out", str(out))
        assert "answers to 1 of 2 prompts already" in again.stderr
        assert out.read_text() == whole  # to the bit, log-probs too
    assert "give another --out" in refusal(*line, "--seed", "5", "--out", str(out))


def test_generate_asks_a_server_and_keeps_what_it_gave(tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    with serving(Script(faults={'"two"': ["400"]})) as url:
        asked = ("--plain", "--prompt", "one", "two", "--stop", "x", "y", "--out", str(out))
        line = ("generate", "--server", url, *asked)
        assert "1 of 2 prompts without answers (number 2)" in refusal(*line)
        assert [json.loads(row)["prompt"] for row in out.read_text().splitlines()] == ["one"]
        assert run(*line).exit_code == 0
    assert [json.loads(row)["prompt"] for row in out.read_text().splitlines()] == ["one", "two"]


def test_generate_prints_what_a_server_gave_before_it_failed() -> None:
    with serving(Script(faults={'"two"': ["400"]})) as url:
        found = run("generate", "--server", url, "--plain", "--prompt", "one", "two")
    assert found.exit_code == 1
    assert found.stdout.splitlines()[0] == "one"
    assert "two" not in found.stdout


def test_generate_answers_token_ids(tmp_path: Path) -> None:
    (tmp_path / "ids.jsonl").write_text(json.dumps({"prompt": [5, 6, 7]}) + "\n")
    model = str(world.sft_model())
    found = run("generate", "--model", model, "--prompts", str(tmp_path / "ids.jsonl"), "--max-new-tokens", "2")
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines()[0] == "[5, 6, 7]"


def test_settings_of_a_server_need_one() -> None:
    assert "belong to --server" in refusal("generate", "--model", "m", "--prompt", "a", "--timeout", "3")


@pytest.mark.parametrize(("rejected", "code"), [("other", 0), ("same", 1)])
def test_inspect_ends_as_a_run_would_begin(tmp_path: Path, rejected: str, code: int) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "say.", "chosen": "same", "rejected": rejected}))
    assert [run("inspect", str(file), *form).exit_code for form in ([], ["--json"])] == [code, code]


def test_generate_needs_a_prompt() -> None:
    assert "--prompt TEXT or --prompts FILE" in refusal("generate", "--model", "m")


def test_a_bad_line_of_prompts_is_named(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "a"}\n{"promt": "b"}\n')
    assert "row 2: needs `prompt`" in refusal("generate", "--model", "m", "--prompts", str(file))


def test_a_folder_without_a_run_has_no_report(tmp_path: Path) -> None:
    assert "no run directory" in refusal("report", str(tmp_path))


def test_a_sum_of_methods_is_a_target_and_takes_the_settings_of_its_parts() -> None:
    found = asked("dpo.beta=0.3", "sft_chosen.weight=0.2", target="dpo + 0.1*sft_chosen").recipe()
    assert found == override(recipe("dpo + 0.2*sft_chosen"), "dpo.beta", 0.3)


def test_a_file_may_hold_a_sum_without_a_method(tmp_path: Path) -> None:
    parts = [{"objective": {"kind": "dpo"}}, {"weight": 0.2, "objective": {"kind": "sft_chosen"}}]
    file = write(tmp_path / "run.yaml", {"objective": {"kind": "sum", "parts": parts}})
    assert asked(target=file).recipe() == recipe("dpo + 0.2*sft_chosen")


@pytest.mark.parametrize(
    ("target", "setting", "message"),
    [
        ("dpo + 0.1*sft", "dpo.beta=0.2", "take sft_chosen"),
        ("dpo + 0.1*simp", "dpo.beta=0.2", "Did you mean simpo?"),
        ("dpo + simpo", "beta=0.2", "beta is a setting of a part of the sum: say whose, as in dpo.beta=..."),
        ("dpo + simpo", "dpo.bta=0.2", "dpo has no setting bta. Did you mean beta?"),
    ],
)
def test_a_sum_that_cannot_be_is_refused_before_the_data(target: str, setting: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        asked(setting, target=target).recipe()
    assert message in str(caught.value)


def test_none_is_a_pairing_and_elsewhere_nothing() -> None:
    run_ = asked(pairing="none", save_every="none").run
    assert run_.pairing == "none"
    assert run_.save_every is None


def rounds(tmp_path: Path, *more: str) -> list[str]:
    """A command that would play rounds."""
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Who is old?"}\n')
    places = ["--model", str(world.sft_model()), "--prompts", str(tmp_path / "prompts.jsonl")]
    return ["train", "online_dpo", *places, "--out", str(tmp_path / "run"), *more]


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ("builtins:nosuch", "'builtins:nosuch' cannot be imported"),
        ("builtins:len", "must take 2 or 3 arguments, got 1"),
        ("reward:./nothere", "there is no model folder ./nothere"),
        ("preference:./nothere", "there is no model folder ./nothere"),
    ],
)
def test_a_judge_that_is_not_there_is_refused_before_anything_is_written(
    tmp_path: Path, judge: str, said: str
) -> None:
    assert said in refusal(*rounds(tmp_path, "--judge", judge))
    assert not (tmp_path / "run").exists()


def test_prompts_alone_are_answered_with_the_judge_that_is_missing(tmp_path: Path) -> None:
    assert "or --judge" in refusal(*rounds(tmp_path))


def test_the_script_finds_modules_in_the_folder_it_runs_in(tmp_path: Path) -> None:
    (tmp_path / "opinions.py").write_text("def lonely(answer): return 1.0\n")
    line = rounds(tmp_path, "--judge", "opinions:lonely")
    code = f"import sys; sys.argv[1:] = {line!r}\nfrom truenorth.cli import main; main()"
    # -P: as for an installed script, the folder is not on the path by itself
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert "opinions:lonely must take 2 or 3 arguments, got 1" in done.stderr


def test_a_method_of_rounds_needs_prompts_and_a_judge() -> None:
    assert "prompts and a judge" in run("methods", "online_dpo").stdout
    assert "prompts and a judge" not in run("methods", "dpo").stdout


def test_methods_describes_a_sum() -> None:
    assert "0.2*simpo" in run("methods", "dpo + 0.2*simpo").output


def test_merge_writes_a_model_from_the_command_line(tmp_path: Path) -> None:
    sft, out = str(world.sft_model()), tmp_path / "out"
    other = shutil.copytree(sft, tmp_path / "other")
    line = (
        "merge",
        "linear",
        "--models",
        sft,
        str(other),
        "--out",
        str(out),
        "--set",
        "weights=[3, 1]",
        "--dtype",
        "bfloat16",
    )
    result = run(*line)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    assert (out / "model.safetensors").exists()


def test_merge_says_what_is_missing_with_an_example() -> None:
    assert "truenorth merge expo --models a --base sft --out merged" in refusal("merge", "expo", "--out", "o")


def test_models_that_do_not_fit_are_refused_before_torch_is_imported(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in world.sft_model().iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    config = json.loads((other / "config.json").read_text()) | {"rms_norm_eps": 1.0}
    (other / "config.json").write_text(json.dumps(config))
    line = ["merge", "soup", "--models", str(world.sft_model()), str(other), "--out", str(tmp_path / "out")]
    code = (
        "import sys\nfrom truenorth.cli import app\n"
        f"try:\n    app({line!r})\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1 False"
    assert "rms_norm_eps is 1.0 in one" in done.stderr


def test_merges_are_listed_beside_the_methods() -> None:
    text = run("methods").stdout
    assert all(name in text for name in ("expo", "dare_ties", "arXiv:2306.01708", "truenorth merge NAME"))
    assert "alpha" in run("methods", "expo").stdout
    assert json.loads(run("methods", "ties", "--json").stdout)["settings"][0]["name"] == "keep"
