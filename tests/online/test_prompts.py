"""Prompts out of files: text, JSON lines, compressed or not."""

import gzip
import json
from pathlib import Path

import pytest

from truenorth.errors import DataError
from truenorth.online.prompts import read_prompts

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
