"""Prompts out of files: text, JSON lines, compressed or not."""

import gzip
import json
import re
from pathlib import Path

import pytest

from truenorth.errors import DataError
from truenorth.online.prompts import check_token_ids, read_prompts

PROMPTS = ["Who is old?", [{"role": "user", "content": "Where is the mill?"}]]


def test_a_compressed_file_reads_as_the_plain_one(tmp_path: Path) -> None:
    text = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS)
    (tmp_path / "plain.jsonl").write_text(text)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    assert read_prompts(tmp_path / "plain.jsonl") == read_prompts(tmp_path / "packed.jsonl.gz") == PROMPTS


def test_a_line_of_text_is_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("one\n\ntwo\n")
    assert read_prompts(tmp_path / "prompts.txt") == ["one", "two"]


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0c"])
def test_only_line_breaks_part_prompts(tmp_path: Path, odd: str) -> None:
    prompt = f"one{odd}two"
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": prompt}, ensure_ascii=False) + "\r\n", newline="")
    (tmp_path / "prompts.txt").write_text(f"{prompt}\r\nthree", newline="")
    assert read_prompts(tmp_path / "prompts.jsonl") == [prompt]
    assert read_prompts(tmp_path / "prompts.txt") == [prompt, "three"]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_file_without_prompts_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "prompts.jsonl").write_text(text)
    with pytest.raises(DataError, match="has no prompts: it is empty"):
        read_prompts(tmp_path / "prompts.jsonl")


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="damaged or no text"):
        read_prompts(tmp_path / "prompts.txt")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('["a"]', "the prompt must be text or messages, got list"),
        ('{"prompt": [1, "b"]}', "the prompt must be text or messages"),
        ('{"prompt": [1, 2]}', "token ids are taken by `generate` alone"),
        ('{"prompt": 3}', "needs `prompt`"),
        ('{"prompt": [{"role": "wizard", "content": "x"}]}', "has the role 'wizard'"),
        ('{"prompt": [{"role": "user"}]}', "must have text as its content"),
        ('{"prompt": "  "}', "nothing but blanks"),
        ('{"prompt": [{"role": "user", "content": " "}]}', "nothing but blanks"),
        ('{"prompt": [{"role": "assistant", "content": "Yes."}]}', "the assistant's messages alone"),
    ],
)
def test_a_row_that_is_no_prompt_is_refused_with_its_number(tmp_path: Path, row: str, said: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(f'{{"prompt": "hi"}}\n{row}\n')
    with pytest.raises(DataError, match=rf"prompts\.jsonl, row 2: .*{re.escape(said)}"):
        read_prompts(file)


def test_token_ids_are_a_prompt_where_they_are_asked_for_and_known(tmp_path: Path) -> None:
    (tmp_path / "ids.jsonl").write_text("[1, 2]\n[9]\n")
    prompts = read_prompts(tmp_path / "ids.jsonl", token_ids=True)
    check_token_ids(prompts, 10)
    with pytest.raises(DataError, match=r"prompt 2 has the token id 9, .* its ids are 0 to 8"):
        check_token_ids(prompts, 9)
