"""Plans of all ways to run, from the command line to the numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification

from tests.tiny import tiny_directory
from truenorth.commands import plan_command
from truenorth.errors import SettingsError
from truenorth.judge import judge_of
from truenorth.online.judge import open_judge
from truenorth.online.judge_cost import judge_cost

Planned = dict[str, Any]
Plans = Callable[..., Planned]
asked = list[tuple[str, ...]]()


def reward(prompt: str, answer: str) -> float:
    asked.append((prompt, answer))
    return 0.0


def wins(prompt: str, first: str, second: str) -> float:
    asked.append((prompt, first, second))
    return 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, pairs of two domains, and prompts."""
    folder = tmp_path_factory.mktemp("planned")
    tiny_directory(folder / "sft")
    for name, count in (("a", 20), ("b", 12)):
        rows = [
            {"prompt": f"What of {name} {i}?", "chosen": " it is good", "rejected": " bad", "kind": "xyz"[i % 3]}
            for i in range(count)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"Number {i}?"}) + "\n" for i in range(10)))
    return folder


@pytest.fixture
def plans(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Plans:
    """Plans a command, with files named as they stand in the folder."""
    monkeypatch.chdir(folder)

    def plan(method: str, *sets: str, **given: Any) -> Planned:
        settings = {"model": "sft", "gpu": "h100", "batch_size": "4", **given}
        plan_command(method, settings, sets=sets, as_json=True)
        return json.loads(capsys.readouterr().out)

    return plan


def test_a_run_over_files_has_the_steps_that_train_would_take(plans: Plans) -> None:
    found = plans("dpo", data=["a.jsonl"], epochs="2")
    assert found["course"]["steps"] == 10
    assert found["in_all"] == pytest.approx(10 * found["seconds"] + found["references"])
    assert plans("dpo", data=["a.jsonl"], max_steps="7", out="runs/x")["course"]["steps"] == 7


def test_a_stream_has_no_length_and_holds_its_reference(plans: Plans) -> None:
    found = plans("dpo", stream="a.jsonl", precision="float32")
    assert found["course"]["steps"] is found["in_all"] is None
    assert found["parts"]["references"] == found["parts"]["weights"]
    assert found["longest"] == plans("dpo", data=["a.jsonl"])["longest"]
    assert plans("dpo", stream="a.jsonl", precision="float32", max_steps="3")["in_all"] == pytest.approx(
        3 * found["seconds"]
    )
    numbers = plans("ofs_dpo", stream="-", prompt_tokens="20", answer_tokens="10")
    assert numbers["course"]["steps"] is None


def test_rows_that_a_stream_would_leave_out_are_told_and_not_planned_with(plans: Plans, folder: Path) -> None:
    rows = (folder / "a.jsonl").read_text()
    (folder / "bad.jsonl").write_text("{half\n" + rows + '{"prompt": "hi", "chosen": "a", "rejected": "a"}\n')
    found = plans("dpo", stream="bad.jsonl")
    assert found["rows"] == 20
    assert any("2 of the 22 lines" in note for note in found["notes"])


def test_rounds_draw_and_judge_before_their_steps(plans: Plans) -> None:
    found = plans("online_dpo", prompts="prompts.jsonl", judge="world:reward", k="4", rounds="3")
    rounds = found["rounds"]
    assert (rounds["answers"], rounds["questions"], rounds["rounds"]) == (40, 40, 3)
    assert found["course"]["steps"] == 3 * rounds["steps"] == 9  # a pair a prompt, 4 to a step
    assert rounds["judging"] is None
    assert rounds["seconds"] > 0
    assert rounds["parts"]["cache"] > 0
    assert found["in_all"] == pytest.approx(3 * rounds["seconds"] + 9 * found["seconds"])


@pytest.mark.parametrize(("judge", "comparisons"), [("world:reward", 0), ("world:tale_wins", 10 * (1 + 2))])
def test_comparisons_with_earlier_rounds_are_planned_where_they_are_asked(
    judge: str, comparisons: int, plans: Plans
) -> None:
    found = plans("online_dpo", prompts="prompts.jsonl", judge=judge, k="2", rounds="3")
    assert found["rounds"]["comparisons"] == comparisons  # the oracle is asked in one order


def test_twice_the_answers_fill_twice_the_cache(plans: Plans) -> None:
    two, four = (plans("rloo", prompts="prompts.jsonl", k=k)["rounds"] for k in ("2", "4"))
    assert four["cache"] == 2 * two["cache"]
    assert two["at_once"] == two["answers"] == 8


def test_numbers_plan_the_rounds_of_as_many_prompts_alike(plans: Plans) -> None:
    found = plans("mpo", prompt_tokens="20", rows="12")
    assert found["rounds"]["answers"] == 48
    assert found["longest"] == 20 + 4 * 128
    assert found["rounds"]["judge"] == ""


def test_a_server_draws_elsewhere(plans: Plans) -> None:
    more = {"server": "http://nowhere/v1", "hand_over": "sglang_weights"}
    rounds = plans("online_dpo", prompts="prompts.jsonl", **more)["rounds"]
    assert rounds["drawn_by"] == "http://nowhere/v1"
    assert rounds["parts"] == {}
    assert rounds["seconds"] is None


def test_domains_take_the_steps_of_each_and_write_nothing(plans: Plans, folder: Path) -> None:
    before = sorted(folder.iterdir())
    small = "domains.memory=4"
    assert plans("cofs_dpo", small, data=["a.jsonl", "b.jsonl"])["course"]["steps"] == 5 + 3
    assert plans("cofs_dpo", small, "domains.column=kind", data=["a.jsonl"])["course"]["steps"] == 2 + 2 + 2
    further = plans("cofs_dpo", small, "domains.baselines=[joint]", data=["a.jsonl", "b.jsonl"])
    assert further["course"]["steps"] == 8 + 8
    assert sorted(folder.iterdir()) == before


def test_clients_of_few_rows_take_them_all_and_no_more(plans: Plans) -> None:
    found = plans("fedda", "clients.count=4", data=["a.jsonl"], batch_size="8")
    assert found["course"]["prompts"] == 4 * 5 * 5  # clients, local steps, rows of each
    assert found["course"]["steps"] == 1
    numbers = plans("fedda", "clients.count=4", prompt_tokens="9", answer_tokens="9", rows="20", batch_size="8")
    assert numbers["course"]["prompts"] == 100


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("mpo", {"data": ["a.jsonl"]}, "--data would not be read"),
        ("mpo", {}, "plan needs rows"),
        ("dpo", {"prompts": "prompts.jsonl"}, "dpo trains on rows: --data"),
        ("spac", {"prompts": "prompts.jsonl"}, "it needs --data"),
        ("mpo", {"prompt_tokens": "9", "answer_tokens": "9"}, "--prompt-tokens N alone"),
        (
            "mpo",
            {"prompt_tokens": "9", "max_length": "12"},
            "--prompt-tokens: the longest prompt has 9 tokens, an ans",
        ),
        ("mpo", {"prompt_tokens": "3000", "max_length": "4096"}, "and the model's context is"),
        ("dpo", {"prompt_tokens": "9", "answer_tokens": "4", "max_length": "12"}, "--max-length is 12"),
        ("dpo", {"prompt_tokens": "3000", "answer_tokens": "9", "max_length": "4096"}, "the model's context is"),
        ("spac", {"prompt_tokens": "9"}, "give --data"),
        ("cofs_dpo", {"prompt_tokens": "9", "answer_tokens": "9"}, "numbers tell none apart"),
        ("dpo", {"stream": "empty.jsonl"}, "no row yet"),
        ("fedda", {"stream": "a.jsonl"}, "those of a stream still come"),
        ("online_dpo", {"prompts": "prompts.jsonl", "devices": "2"}, "--layout data"),
    ],
)
def test_what_train_would_refuse_is_refused(
    plans: Plans, folder: Path, method: str, given: dict[str, Any], message: str
) -> None:
    (folder / "empty.jsonl").touch()
    with pytest.raises(SettingsError, match=message):
        plans(method, **given)


@pytest.mark.parametrize("function", ["reward", "wins"])
def test_questions_are_those_that_a_judge_is_asked(function: str) -> None:
    judge = judge_of(f"tests.planning.test_run:{function}")
    from tests.planning.test_run import asked  # the module that the judge finds

    asked.clear()
    open_judge(judge)(["Why?"], [["a", "b", "c", "d"]])
    assert judge_cost(judge, gpu=False).questions(4) == len(asked)


def test_a_judge_in_memory_is_as_large_as_its_weights(plans: Plans, folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder / "sft", num_labels=1)
    model.save_pretrained(folder / "judge")
    weights = sum(p.numel() for p in model.parameters())
    assert judge_cost(judge_of(f"reward:{folder / 'judge'}"), gpu=False).held == 4 * weights
    found = plans("online_dpo", prompts="prompts.jsonl", judge="reward:judge")
    assert found["parts"]["judge"] == found["rounds"]["parts"]["judge"] == 4 * weights
    assert found["rounds"]["judging"] > 0
