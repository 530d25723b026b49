"""What is measured of held-out rows, against the log-probs that `score` gives."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from tests.tiny import tiny_directory
from truenorth import score
from truenorth.errors import DataError
from truenorth.evaluate.held_out_rows import read_answers, read_texts
from truenorth.evaluate.row_measures import likelihoods, ranked
from truenorth.models.load import load_model
from truenorth.models.policy import Policy

ANSWERS = ["The bell is old.", "The mill is old.", "No."]
SCORES = [0.5, 2.0, 0.5]  # the second beats the others, which are even


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_directory(tmp_path_factory.mktemp("model")))


def written(file: Path, *rows: object) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_accuracy_and_margin_are_over_the_pairs_of_which_one_is_better(folder: str, tmp_path: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), load_model(folder)
    file = written(tmp_path / "rows.jsonl", {"prompt": "What is old?", "responses": ANSWERS, "scores": SCORES})
    with torch.no_grad():
        first, best, last = (
            score(model, tokenizer, [{"prompt": "What is old?", "responses": ANSWERS}]).total[0].tolist()
        )
    found = ranked(
        Policy.of(model, "float32"),
        read_answers(file, tokenizer, answers=(2, None), max_length=99, given="--ability-data"),
    )
    margins = [best - first, best - last]
    assert found["margin"] == pytest.approx([sum(margins) / 2], abs=1e-4)
    assert found["accuracy"] == [sum(margin > 0 for margin in margins) / 2]


def test_ability_is_per_token_of_answers(folder: str, tmp_path: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), load_model(folder)
    rows = [{"prompt": "What is old?", "response": answer} for answer in ANSWERS]
    with torch.no_grad():
        scored = score(model, tokenizer, [r | {"responses": [r["response"]]} for r in rows])
    texts = read_texts(written(tmp_path / "known.jsonl", *rows), tokenizer, max_length=99, given="--ability-data")
    found = likelihoods(Policy.of(model, "float32"), texts)
    assert found["ability"] == pytest.approx(scored.mean[:, 0].tolist(), abs=1e-5)


def test_ability_of_a_text_is_that_of_its_tokens_after_the_first(folder: str, tmp_path: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), load_model(folder)
    (tmp_path / "texts.txt").write_text("The bell is old.\n\nNo.\n")
    rows = read_texts(str(tmp_path / "texts.txt"), tokenizer, max_length=99, given="--ability-data")
    ids = torch.tensor([rows[0].prompt.tolist() + rows[0].responses[0].tolist()])
    with torch.no_grad():
        expected = -float(model(ids, labels=ids).loss)
    assert likelihoods(Policy.of(model, "float32"), rows)["ability"][0] == pytest.approx(expected, abs=1e-5)
    assert tokenizer.decode(ids[0]) == "The bell is old."
    as_rows = written(tmp_path / "texts.jsonl", {"text": "The bell is old."}, {"text": "No."})
    again = read_texts(as_rows, tokenizer, max_length=99, given="--ability-data")
    assert [row.key for row in again] == [row.key for row in rows]


def test_a_long_text_is_cut_at_the_models_context(folder: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (tmp_path / "texts.txt").write_text("The bell is old. " * 9)
    rows = read_texts(str(tmp_path / "texts.txt"), tokenizer, max_length=7, given="--ability-data")
    assert len(rows[0].responses[0]) == 6


PAIR = {"prompt": "What is old?", "chosen": "The bell.", "rejected": "No."}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (PAIR, "row 1 has 2 answers, and --ability-data takes 1 answer to a prompt"),
        (PAIR | {"chosen": "No."}, "row 1 has 2 answers, and --ability-data takes 1 answer to a prompt"),
        ({"prompt": "What is old?", "response": ""}, "The rows of --ability-data cannot be used as they are"),
        ({"foo": 1}, "fits no layout"),
    ],
)
def test_rows_that_are_none_of_ability_are_refused_by_the_flag_that_brought_them(
    row: dict[str, object], said: str, folder: str, tmp_path: Path
) -> None:
    tokenizer, file = AutoTokenizer.from_pretrained(folder), written(tmp_path / "rows.jsonl", row)
    with pytest.raises(DataError) as caught:
        read_texts(file, tokenizer, max_length=99, given="--ability-data")
    text = str(caught.value)
    assert said in text
    assert "--ability-data is for rows with one answer each" in text
    assert not any(word in text for word in ("the method", "The method", "--columns", "--on-problem"))


@pytest.mark.parametrize("row", [{"prompt": "a", "response": "b"}, PAIR | {"chosen": "No."}])
def test_rows_that_compare_nothing_are_refused_by_the_flag_that_brought_them(
    row: dict[str, object], folder: str, tmp_path: Path
) -> None:
    tokenizer, file = AutoTokenizer.from_pretrained(folder), written(tmp_path / "rows.jsonl", row)
    with pytest.raises(DataError, match=r"--eval-data (compares at least 2|cannot be used)") as caught:
        read_answers(file, tokenizer, answers=(2, None), max_length=99, given="--eval-data")
    assert "method" not in str(caught.value)


def test_a_row_without_its_text_is_named(folder: str, tmp_path: Path) -> None:
    file = written(tmp_path / "texts.jsonl", {"text": "One."}, {"txt": "Two."})
    with pytest.raises(DataError, match="row 2: needs `text`"):
        read_texts(file, AutoTokenizer.from_pretrained(folder), max_length=9, given="--ability-data")


@pytest.mark.parametrize("name", ["texts.txt", "texts.jsonl"])
def test_an_empty_file_is_refused(name: str, folder: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(DataError):
        read_texts(str(tmp_path / name), AutoTokenizer.from_pretrained(folder), max_length=9, given="--ability-data")


def test_a_text_is_a_line_whatever_else_breaks_lines(folder: str, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("One old\u2028mill.\r\nTwo mills.\n", newline="")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = read_texts(str(tmp_path / "texts.txt"), tokenizer, max_length=99, given="--ability-data")
    assert [row.row for row in rows] == [1, 2]
