import json
from collections.abc import Sequence
from pathlib import Path

from tests.evaluate.test_report import Page
from tests.synthetic_run import write_run
from truenorth.evaluate.report import write_report
from truenorth.evaluate.round_samples import SHOWN, over_rounds


def write_round(out: Path, number: int, rows: Sequence[tuple[object, str, float]]) -> None:
    """Rows of (prompt, first answer, its score)."""
    file = out / "rounds" / f"{number:04}" / "rows.jsonl"
    file.parent.mkdir(parents=True)
    (file.parent / "log.jsonl").touch()
    made = [{"prompt": p, "responses": [text, "another"], "scores": [score, 0.0]} for p, text, score in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in made))


def test_the_prompt_that_most_rounds_asked_is_shown(tmp_path: Path) -> None:
    asked = [["a", "b"], ["b", "c"], ["c", "b"]]
    for number, prompts in enumerate(asked, 1):
        write_round(tmp_path, number, [(p, f"{p} in {number}", float(number)) for p in prompts])
    found = over_rounds(tmp_path)
    assert found is not None
    assert found.prompt == "b"
    assert [(s.round, s.text, s.score) for s in found.samples] == [(n, f"b in {n}", n) for n in (1, 2, 3)]


def test_of_a_conversation_the_last_message_is_the_prompt(tmp_path: Path) -> None:
    for number in (1, 2):
        write_round(tmp_path, number, [([{"role": "user", "content": "why?"}], "so", 1.0)])
    found = over_rounds(tmp_path)
    assert found is not None
    assert found.prompt == "why?"


def test_prompts_that_no_second_round_asked_are_not_shown(tmp_path: Path) -> None:
    assert over_rounds(tmp_path) is None
    write_round(tmp_path, 1, [("a", "x", 1.0)])
    write_round(tmp_path, 2, [("b", "x", 1.0)])
    assert over_rounds(tmp_path) is None


def test_a_prompt_asked_twice_in_a_round_counts_once(tmp_path: Path) -> None:
    write_round(tmp_path, 1, [("a", "x", 1.0), ("a", "y", 1.0)])
    assert over_rounds(tmp_path) is None


def test_answers_of_the_data_are_not_the_policys(tmp_path: Path) -> None:
    file = tmp_path / "rounds" / "{}" / "rows.jsonl"
    for number in (1, 2):
        (path := Path(str(file).format(f"{number:04}"))).parent.mkdir(parents=True)
        (path.parent / "log.jsonl").touch()
        row = {"prompt": "a", "responses": ["of the data", "as well", "drawn"], "scores": [1.0, 0.0, 0.5], "given": 2}
        other = {"prompt": "b", "responses": ["of the data", "as well"], "scores": [1.0, 0.0], "given": 2}
        path.write_text(json.dumps(other) + "\n" + json.dumps(row) + "\n")
    found = over_rounds(tmp_path)
    assert found is not None
    assert [(sample.text, sample.score) for sample in found.samples] == [("drawn", 0.5)] * 2


def test_answers_that_were_given_as_a_file_are_not_the_policys(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_round(tmp_path, number, [("a", f"in {number}", 1.0)])
    (tmp_path / "rounds/0001/log.jsonl").unlink()
    found = over_rounds(tmp_path)
    assert found is not None
    assert [sample.text for sample in found.samples] == ["in 2", "in 3"]


def test_of_many_rounds_the_first_and_the_last_are_shown(tmp_path: Path) -> None:
    for number in range(1, 42):
        write_round(tmp_path, number, [("a", str(number), 0.0)])
    found = over_rounds(tmp_path)
    assert found is not None
    shown = [sample.round for sample in found.samples]
    assert len(shown) == SHOWN
    assert shown == sorted(set(shown))
    assert (shown[0], shown[-1]) == (1, 41)


def test_the_report_escapes_what_models_say(tmp_path: Path) -> None:
    write_run(tmp_path)
    for number in (1, 2):
        write_round(tmp_path, number, [("a", "<b>loud", 0.5)])
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert Page(page).open == []
    assert "One prompt over the rounds" in page
    assert "<b>loud" not in page
    assert page.count("&lt;b&gt;loud") == 2
