"""Runs in rounds that play against an opponent, or leave pairs out: what is written, counted, and refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.feeds.test_played import QUICK, lines, prompts, short
from tests.vowels import brief
from truenorth import align
from truenorth.errors import ModelError, SettingsError

__all__ = ["prompts"]  # a fixture


def rows(out: Path, number: int, name: str = "rows.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / f"rounds/{number:04}" / name).read_text().splitlines()]


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_an_opponents_answers_stand_behind_the_policys_and_are_judged_with_them(
    lora: Any, model: str, prompts: str, tmp_path: Path
) -> None:
    made = short("nash_md", rounds=2, k=2, max_new_tokens=4)
    align(made, model=model, prompts=prompts, judge=brief, out=tmp_path / "run", lora=lora, **QUICK)
    for number in (1, 2):
        found = rows(tmp_path / "run", number)
        assert found
        assert all(row["opponents"] == 2 and len(row["responses"]) == len(row["wins"]) == 4 for row in found)
        assert all(row["made"]["mixture"] == 0.25 for row in found)
    assert all(0 < line["wins/opponent"] < 1 for line in lines(tmp_path / "run", "round"))


def test_a_server_draws_from_no_mixture(model: str, prompts: str, tmp_path: Path) -> None:
    server = {"server": {"url": "http://127.0.0.1:9/v1"}, "hand_over": "model_name"}
    with pytest.raises(SettingsError, match=r"a completion server draws from one model.*mpo, sppo"):
        align(short("nash_md"), model=model, prompts=prompts, judge=brief, out=tmp_path / "run", sampler=server)


def test_pairs_that_the_policy_beats_are_left_out_counted_and_named_in_the_report(model: str, tmp_path: Path) -> None:
    data, out = tmp_path / "pairs.jsonl", tmp_path / "run"
    pairs = [  # of the first the chosen answer is beaten by anything, of the second by nothing
        {"prompt": f"What of number {i}?", "chosen": "aeiou" * 9 if i % 2 else "Hm.", "rejected": f"No {i}."}
        for i in range(8)
    ]
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    made = short("filtered_dpo", rounds=2, k=1, max_new_tokens=4)
    result = align(made, model=model, data=str(data), judge=brief, out=out, **QUICK)
    for number in (1, 2):
        taken = {row["place"] for row in rows(out, number, "pairs.jsonl") if row["taken"]}
        good = {row["place"] for row in rows(out, number) if row["responses"][0] == "Hm."}
        assert taken == good
        assert len(rows(out, number)) == 8  # the answers are all there
    assert [line["pairs/left_out"] for line in lines(out, "round")] == [4.0, 4.0]
    said = "Of 16 pairs in all rounds 8 were learnt from. Left out: 8 because the policy's own answer beats"
    assert any(note.startswith(said) for note in result.summary["notes"])
    assert "Of 16 pairs in all rounds" in (out / "report.html").read_text()


def test_an_estimator_must_be_named_before_anything_is_loaded(prompts: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="an estimator must be given: --set estimator="):
        align("upo", model=str(tmp_path / "none"), prompts=prompts, judge=brief, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
