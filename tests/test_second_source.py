"""Runs whose rounds begin from rows of the data: laws between them, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.feeds.test_played import QUICK, lines
from tests.test_job import weights
from tests.tiny import rows_of, tiny_model
from tests.vowels import brief
from truenorth import align
from truenorth.data.packing import pack
from truenorth.errors import SettingsError
from truenorth.methods import recipe
from truenorth.models.policy import Policy
from truenorth.models.references import Frozen
from truenorth.recipe import Objective
from truenorth.train.step import Player, train_step

SHAPES = [(6, (5, 3, 6)), (4, (7, 2, 3)), (9, (4, 4, 5))]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    rows = [{"prompt": f"Of {i}?", "chosen": f"It is {i}.", "rejected": f"No idea, {i}!"} for i in range(8)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def short(method: str, **changes: Any) -> Any:
    made = recipe(method, learning_rate=1e-2)
    assert made.schedule is not None
    return made.replace(schedule=made.schedule.replace(**{"rounds": 1, "max_new_tokens": 8} | changes))


def test_sail_that_changes_no_row_is_dpo_to_the_bit(model: str, pairs: str, tmp_path: Path) -> None:
    made = short("sail")
    ours = made.replace(objective=made.objective.replace(share=0.0))
    align(ours, model=model, data=pairs, out=tmp_path / "sail", **QUICK)
    rows = str(tmp_path / "sail/rounds/0001/rows.jsonl")  # data like any other, in the round's order
    dpo = recipe("dpo").replace(update=made.update, references={"initial": Frozen()})
    align(dpo, model=model, data=rows, out=tmp_path / "dpo", **QUICK)
    found, expected = weights(tmp_path / "sail"), weights(tmp_path / "dpo")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_selm_trains_on_the_best_and_the_worst_of_three(model: str, pairs: str, tmp_path: Path) -> None:
    result = align(short("selm"), model=model, data=pairs, judge=brief, out=tmp_path / "run", eval_data=pairs, **QUICK)
    (told,) = lines(tmp_path / "run", "round")
    assert told["rows"] + told["left_out"] == 8
    assert all("logps/sample" in line for line in lines(tmp_path / "run", "train"))
    assert "logps/sample" not in lines(tmp_path / "run", "eval")[0]  # held-out rows are pairs
    assert result.summary["step0"]["drift"] < 1e-4
    assert (tmp_path / "run" / "account.json").exists()
    rows = [json.loads(line) for line in (tmp_path / "run/rounds/0001/rows.jsonl").read_text().splitlines()]
    assert all(len(row["responses"]) == 3 and row["given"] == 2 for row in rows)
    assert all(row["scores"] == [brief("", answer) for answer in row["responses"]] for row in rows)


def mean_of_sample(loss: Objective) -> float:
    """Nats of the further answers after a step of a tiny model on pairs that have one each."""
    policy = Policy.of(tiny_model().requires_grad_(True), "float32")
    named = dict(policy.model.named_parameters())
    player = Player(policy.log_probs, loss, torch.optim.SGD(named.values(), lr=0.005), named, None)
    reference = Policy.of(tiny_model(), "float32").log_probs
    batch = pack(rows_of(SHAPES))
    train_step([player], [batch], {loss.references[0]: reference})
    with torch.no_grad():
        return float(policy.log_probs(batch).total[:, 2].mean())


@pytest.mark.parametrize(("method", "weight"), [("selm", "alpha"), ("xpo", "alpha"), ("spac", "penalty")])
def test_more_weight_lowers_what_was_drawn(method: str, weight: str) -> None:
    found = [mean_of_sample(recipe(method, beta=0.5, **{weight: value}).objective) for value in (0.0, 0.3, 3.0)]
    assert found[0] > found[1] > found[2]


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("spac", {}, r"spac plays rounds: it needs --data\. For instance: .*--data pairs\.jsonl --out"),
        ("selm", {"data": True}, r"selm plays rounds: it needs --judge\. .*--data pairs\.jsonl --judge my\.judges"),
        ("spac", {"data": True, "judge": brief}, "spac asks no judge"),
        ("sail", {"data": True, "judge": brief}, "sail asks no judge"),
        ("xpo", {"data": True, "judge": brief}, "xpo plays rounds: it needs --prompts"),
        ("spac", {"data": True, "epochs": 2}, "--epochs would not be read"),
        ("spac", {"data": True, "share": 0.5}, r"takes? every row once in a pass, and .*pairs\.jsonl has a share"),
    ],
)
def test_what_is_missing_or_unread_is_said_before_a_model_is_loaded(
    method: str, given: dict[str, Any], said: str, model: str, pairs: str, tmp_path: Path
) -> None:
    share = given.pop("share", None)
    asked: dict[str, Any] = (
        QUICK | given | ({"data": [f"{pairs}:{share}" if share else pairs]} if "data" in given else {})
    )
    with pytest.raises(SettingsError, match=said):
        align(short(method), model=model, out=tmp_path / "run", **asked)
    assert not (tmp_path / "run").exists()


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused(model: str, pairs: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"pairs\.jsonl: the longest prompt has 5 tokens, an answer may have 60"):
        align(short("spac", max_new_tokens=60), model=model, data=pairs, out=tmp_path / "run", **QUICK)


def test_dpr_asks_a_judge(model: str, pairs: str, tmp_path: Path) -> None:
    made = short("sail")
    judged = made.replace(objective=made.objective.replace(which="dpr"))
    with pytest.raises(SettingsError, match="sail plays rounds: it needs --judge"):
        align(judged, model=model, data=pairs, out=tmp_path / "run", **QUICK)


def demonstrations(folder: Path, **beside: str) -> str:
    """A file of four good answers, with what stands `beside` each."""
    file = folder / f"demonstrations {len(beside)}.jsonl"
    rows = [
        {"prompt": f"And of {i}?", "chosen" if beside else "completion": f"That is {i}.", **beside} for i in range(4)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_demonstrations_are_completed_by_the_policy_and_pairs_are_not(model: str, pairs: str, tmp_path: Path) -> None:
    data, out = [pairs, demonstrations(tmp_path)], tmp_path / "run"
    result = align(short("aihf_selfplay"), model=model, data=data, eval_data=data, out=out, **QUICK)
    assert result.summary["step0"]["drift"] < 1e-4
    rows = [json.loads(line) for line in (out / "rounds/0001/rows.jsonl").read_text().splitlines()]
    assert [row["given"] for row in rows].count(1) == 4
    for row in rows:
        drawn = row["given"] == 1
        assert row["columns"] == {"demonstration": float(drawn)}
        assert len(row["responses"]) == 2
        assert row["scores"] == [1.0, 0.0]
        assert row["unjudged"]
        assert row["responses"][0].startswith("That is" if drawn else "It is")
    assert "rewards/demonstrations" in lines(out, "eval")[0]  # held-out ones stand alone


def test_one_round_of_pairs_and_completed_demonstrations_is_dpo_on_them_to_the_bit(
    model: str, pairs: str, tmp_path: Path
) -> None:
    made = short("aihf_selfplay")
    align(made, model=model, data=[pairs, demonstrations(tmp_path)], out=tmp_path / "ours", **QUICK)
    folder = tmp_path / "dpo/rounds/0001"
    folder.mkdir(parents=True)
    shutil.copy(tmp_path / "ours/rounds/0001/rows.jsonl", folder)  # without the log: made elsewhere
    dpo = short("sail").replace(update=made.update)
    dpo = dpo.replace(objective=dpo.objective.replace(share=0.0))
    align(dpo, model=model, data=[pairs, demonstrations(tmp_path, rejected="No.")], out=tmp_path / "dpo", **QUICK)
    found, expected = weights(tmp_path / "ours"), weights(tmp_path / "dpo")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
