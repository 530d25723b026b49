"""Every method with every kind of file: rows as it takes them, or a reason and a remedy before a model is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tokenizers import byte_level
from truenorth.data.notes import notes
from truenorth.data.prepare import Prepared, prepare
from truenorth.errors import DataError
from truenorth.job import data_settings
from truenorth.methods import METHODS, recipe
from truenorth.recipe import Objective
from truenorth.run import DataSource, Run

GOOD = ["Stir the red soup slowly, then add salt and pepper.", "Sail west past the island, and drop anchor by noon."]
BAD = ["Boil the cold soup quickly, and forget salt or oil.", "Drift east from the harbour, or sink near the reef."]
OTHER = [["Some words on a pot, a lid, a stove and bread.", text] for text in ("A, b and c or d.", "E, f and g or h.")]
PAIRS = [{"prompt": f"Question {i}?", "chosen": GOOD[i], "rejected": BAD[i], "weight": 0.5} for i in range(2)]
LISTS = [{"prompt": f"Question {i}?", "responses": [BAD[i], GOOD[i], *OTHER[i]], "weight": 0.5} for i in range(2)]
FILES: dict[str, list[dict[str, Any]]] = {
    "pairs": PAIRS,
    "scored pairs": [{**row, "score_chosen": 2.0, "score_rejected": 0.5} for row in PAIRS],
    "pairs with margins": [{**row, "margin": 1.5} for row in PAIRS],
    "four with scores": [{**row, "scores": [0.0, 4.0, 2.0, 1.0]} for row in LISTS],
    "four with ranks": [{**row, "ranks": [4, 1, 2, 3]} for row in LISTS],
    "labelled": [{"prompt": "Question?", "completion": GOOD[0], "label": i == 0, "weight": 0.5} for i in range(2)],
    "answers": [{"prompt": f"Question {i}?", "completion": GOOD[i], "weight": 0.5} for i in range(2)],
}
FILES["labelled"][1]["completion"] = BAD[0]
SINGLE, FOUR = ("labelled", "answers"), ("four with scores", "four with ranks")
SUMS = ["dpo + 0.1*sft_chosen", "exo_rw + 0.1*sft_chosen", "kto + 0.5*bco", "mmpo + 0.5*odpo"]


def prepared(folder: Path, method: str, *kinds: str, **options: Any) -> tuple[Prepared, list[str]]:
    """Rows that `method` would train on, and what a run says of them."""
    files = [folder / f"{kind}.jsonl" for kind in kinds]
    for file, kind in zip(files, kinds, strict=True):
        file.write_text("".join(json.dumps(row) + "\n" for row in FILES[kind]))
    chosen = recipe(method)
    run = Run(model="m", data=[DataSource(path=str(file)) for file in files], out=folder / "out", **options)
    settings = data_settings(chosen, run)
    sources = [(source.path, source.share) for source in run.data]
    found = prepare(sources, byte_level(), settings=settings, cache=folder / "cache")
    return found, notes(found, settings, chosen.objective.name)


def missing(objective: Objective, kind: str) -> str | None:
    """What `kind` lacks for the objective: a reason and a remedy; None where it has all."""
    fewest, most = objective.candidates
    apart = most == 1 and "label" in objective.columns
    if kind in SINGLE and fewest > 1:
        return r"compares at least 2 answers to a prompt, .* has one .*It needs prompt, chosen and rejected"
    differences = kind == "pairs with margins" and "reward_shift" in objective.invariances  # all that it reads
    with_scores = kind in ("scored pairs", "four with scores") or differences
    if "rewards" in objective.reads and not with_scores:
        return r"reads scores, .* has none .*Give a column scores"
    for column in objective.columns:
        if column != "label":
            return rf"reads the column {column}, .*Give each row a number {column}, .*--columns {column}=COLUMN"
        if kind == "answers":
            return r"reads the column label, .*Give each answer a label, true or false, or give pairs"
    if most == 1 and not apart and kind not in SINGLE:
        return r"answers, and the method takes one\. .*--columns response=chosen, or take the method sft_chosen"
    if kind in FOUR and most is not None:
        return r"row 1 has 4 answers, .*Choose --pairing best_vs_each .*, best_vs_worst .* or all_pairs \(6 pairs\)"
    if kind == "labelled" and "label" not in objective.columns:
        return "(?s)unwanted_answer.*takes every answer as a good one"
    if objective.demonstrations:
        return r"without demonstrations take dpo|without pairs take sft"
    return None


def shape(objective: Objective, kind: str) -> dict[str, int]:
    """Answers per row -> rows, of those that the method trains on."""
    if kind in SINGLE:
        return {"1": 2}
    if objective.candidates[1] == 1:
        return {"1": 4}
    return {"4" if kind in FOUR else "2": 2}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("method", [*METHODS, *SUMS])
def test_a_method_gets_rows_as_it_takes_them_or_says_what_is_missing(method: str, kind: str, tmp_path: Path) -> None:
    objective = recipe(method).objective
    if (reason := missing(objective, kind)) is not None:
        with pytest.raises(DataError, match=reason):
            prepared(tmp_path, method, kind)
        return
    found, said = prepared(tmp_path, method, kind)
    assert found.statistics.candidates == shape(objective, kind)
    assert all(found.rows[i].columns["weight"] == 0.5 for i in range(len(found.rows)))
    assert any("taken apart" in note for note in said) is (objective.candidates[1] == 1 and kind not in SINGLE)


@pytest.mark.parametrize("kind", FOUR)
@pytest.mark.parametrize("method", [name for name in METHODS if recipe(name).objective.candidates[1] == 2])
def test_a_pairing_that_is_chosen_is_kept_to_and_said(method: str, kind: str, tmp_path: Path) -> None:
    objective = recipe(method).objective
    lacks = ("rewards" in objective.reads and kind == "four with ranks") or objective.columns
    if lacks or objective.demonstrations:
        return
    found, said = prepared(tmp_path, method, kind, pairing="best_vs_each")
    assert found.statistics.candidates == {"2": 6}
    assert said == ["rows with more than 2 answers are made into pairs: best_vs_each"]


@pytest.mark.parametrize("method", ["odpo", "mmpo", "exo_rw", "dpo_rw", "nca_rw", "exo_rw + 0.1*sft_chosen"])
def test_a_margin_stands_for_scores_where_only_their_difference_matters(method: str, tmp_path: Path) -> None:
    found, said = prepared(tmp_path, method, "pairs with margins")
    assert [found.rows[i].scores for i in range(2)] == [(1.5, 0.0)] * 2
    assert said == ["no scores: the column margin stands for their difference, which is all that the method reads"]


def test_scores_go_before_a_margin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [{**row, "margin": 9.0} for row in FILES["scored pairs"]]
    monkeypatch.setitem(FILES, "pairs", both)
    found, said = prepared(tmp_path, "mmpo", "pairs")
    assert (found.rows[0].scores, said) == ((2.0, 0.5), [])


def test_a_margin_below_zero_is_a_score_against_the_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "pairs", [{**PAIRS[0], "margin": -1.0}])
    with pytest.raises(DataError, match="score_against_label"):
        prepared(tmp_path, "mmpo", "pairs")


def test_demonstrations_beside_pairs_are_counted(tmp_path: Path) -> None:
    found, said = prepared(tmp_path, "aihf", "pairs", "answers")
    assert found.statistics.candidates == {"1": 2, "2": 2}
    assert said == ["2 pairs and 2 demonstrations (rows with one answer), each row counting the same."]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("pairs", r"2 pairs and no demonstration\. .*take dpo"),
        ("answers", r"2 demonstrations and no pair\. .*take sft"),
    ],
)
def test_demonstrations_or_pairs_alone_are_refused(kind: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        prepared(tmp_path, "aihf", kind)


def test_an_answer_that_was_judged_bad_is_no_demonstration_beside_pairs_either(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unwanted_answer"):
        prepared(tmp_path, "aihf", "pairs", "labelled")


def test_rows_that_are_left_out_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tied = {**LISTS[0], "prompt": "Which?", "scores": [1.0, 1.0, 1.0, 1.0]}
    monkeypatch.setitem(FILES, "with a tie", [*FILES["four with scores"], tied])
    found, said = prepared(tmp_path, "exo_rw", "with a tie")
    assert len(found.rows) == 2
    assert said[-1] == "3 rows read, 2 kept; 1 dropped (tie, --ties): all scores or ranks are equal."
