from pathlib import Path

from truenorth.online.left_out import most_frequent, told
from truenorth.online.round_file import RoundFile, Written


def write_log(folder: Path, number: int, reasons: list[str]) -> Path:
    """A round of eight prompts, the first of which were left out."""
    file = RoundFile(folder / f"{number:04}")
    file.append([], Written(tuple(range(8)), {str(i): reason for i, reason in enumerate(reasons)}, 0.0, 0.0))
    return file.folder


def test_reasons_that_quote_their_prompts_are_one() -> None:
    said = ["no glasses for 'What?'", "the server's line is gone", 'no glasses for "Who?"']
    assert most_frequent(said) == ("no glasses for 'What?'", 2)


def test_reasons_that_only_begin_alike_are_two() -> None:
    said = ["the judge's server failed", "the judge's answer is empty", "the judge's answer is empty"]
    assert most_frequent(said) == ("the judge's answer is empty", 2)


def test_the_round_that_lost_most_is_told_with_its_reason_and_log(tmp_path: Path) -> None:
    folders = [write_log(tmp_path, 1, ["hm"]), write_log(tmp_path, 2, ["no 'a'", "no 'b'", "hm"])]
    assert told(folders) == (
        "Round 2: 3 of 8 prompts left out, most often because: no 'a'; rounds/0002/log.jsonl. "
        "All rounds together left out 4."
    )


def test_where_nothing_was_left_out_nothing_is_told(tmp_path: Path) -> None:
    assert told([write_log(tmp_path, 1, [])]) is None
