"""What `truenorth inspect` shows of files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tests.tiny import rows_of
from truenorth.data.options import DataSettings, Needs
from truenorth.data.prepare import prepare
from truenorth.data.tokens import TokenizedRows
from truenorth.errors import DataError
from truenorth.evaluate.inspection import SHOWN_END, SHOWN_START, Inspection, draw, inspect, padded_tokens, pieces

LETTERS = "abcdefghijklmnopqrstuvwxyz .\n"
GOOD = [{"prompt": "say hello.", "chosen": "hello there\n", "rejected": "no"} for _ in range(2)]
BAD = {"prompt": "say.", "chosen": "same", "rejected": "same"}
SETTINGS = DataSettings(needs=Needs(candidates=(1, None)), on_problem="stop")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    """One token a letter."""
    words = {word: i for i, word in enumerate(["<pad>", "</s>", *LETTERS])}
    inner = Tokenizer(models.BPE(vocab=words, merges=[]))
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUENORTH_CACHE", str(tmp_path / "cache"))
    return rows(tmp_path / "rows.jsonl", [*GOOD, BAD])


def rows(file: Path, values: Sequence[Mapping[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(value) + "\n" for value in values))
    return file


def text(
    found: Inspection, *, tokenizer: PreTrainedTokenizerBase | None, colour: bool = False, width: int = 120
) -> str:
    console = Console(width=width, force_terminal=colour, color_system="standard" if colour else None)
    with console.capture() as capture:
        console.print(draw(found, tokenizer=tokenizer, rows=1, colour=colour), highlight=False)
    return capture.get()


def test_a_row_that_stops_a_run_is_shown_and_the_others_are_counted(file: Path, tokenizer) -> None:
    found = inspect([(str(file), 1.0)], SETTINGS, tokenizer=tokenizer)
    shown = text(found, tokenizer=tokenizer)
    assert "3 rows read, 2 can be trained on." in shown
    assert "1 identical_answers stops the run" in shown
    assert "rows.jsonl, row 3" in shown


def test_what_a_run_keeps_by_default_is_kept(file: Path, tokenizer) -> None:
    assert "1 duplicate kept" in text(inspect([(str(file), 1.0)], SETTINGS, tokenizer=tokenizer), tokenizer=tokenizer)


def test_rows_that_all_stop_a_run_leave_nothing_to_count(file: Path, tokenizer) -> None:
    found = inspect([(str(rows(file, [BAD])), 1.0)], SETTINGS, tokenizer=tokenizer)
    shown = text(found, tokenizer=tokenizer)
    assert "1 rows read, 0 can be trained on." in shown
    assert "Lengths" not in shown


def test_the_choice_of_the_user_is_what_becomes_of_a_row(file: Path, tokenizer) -> None:
    found = inspect([(str(file), 1.0)], SETTINGS.replace(on_problem="drop"), tokenizer=tokenizer)
    assert "identical_answers dropped" in text(found, tokenizer=tokenizer)


def test_what_a_run_would_say_is_said(file: Path, tokenizer) -> None:
    with pytest.raises(DataError) as refused:
        prepare([(str(file), 1.0)], tokenizer, settings=SETTINGS)
    found = inspect([(str(file), 1.0)], SETTINGS, tokenizer=tokenizer)
    assert str(refused.value).splitlines()[0] == found.refusal
    assert "Mend the file, or choose --on-problem drop or keep." in found.refusal


def test_too_many_dropped_rows_are_said_like_rows_that_stop(file: Path) -> None:
    found = inspect([(str(file), 1.0)], SETTINGS.replace(on_problem="drop"))
    assert "33.3% of the rows would be dropped" in text(found, tokenizer=None)


def test_rows_that_a_run_would_take_are_no_refusal(file: Path) -> None:
    assert not inspect([(str(rows(file, GOOD)), 1.0)], SETTINGS).refusal


def test_tokens_are_told_apart_without_colour(file: Path, tokenizer) -> None:
    shown = text(inspect([(str(file), 1.0)], SETTINGS, tokenizer=tokenizer), tokenizer=tokenizer)
    assert "s|a|y| |h|e|l|l|o|." in shown
    assert "n|o|</s>" in shown


def test_a_line_break_is_seen(file: Path, tokenizer) -> None:
    assert "e|r|e|⏎" in text(inspect([(str(file), 1.0)], SETTINGS, tokenizer=tokenizer), tokenizer=tokenizer)


def test_colour_tells_chosen_rejected_and_special_tokens_apart(file: Path, tokenizer) -> None:
    shown = text(inspect([(str(file), 1.0)], SETTINGS, tokenizer=tokenizer), tokenizer=tokenizer, colour=True)
    assert "\x1b[32mh\x1b[0m\x1b[4;32me" in shown  # green, every second token underlined
    assert "\x1b[31mn\x1b[0m\x1b[4;31mo\x1b[0m\x1b[7;31m</s>" in shown


def test_without_a_tokenizer_the_rest_is_shown(file: Path) -> None:
    shown = text(inspect([(str(file), 1.0)], SETTINGS), tokenizer=None)
    assert "read as pairs" in shown
    assert "give --model" in shown


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_wider_than_the_terminal(file: Path, tokenizer, width: int) -> None:
    found = inspect([(str(file), 1.0)], SETTINGS, tokenizer=tokenizer)
    assert max(map(len, text(found, tokenizer=tokenizer, width=width).splitlines())) <= width


def test_json_holds_what_a_run_would_do(file: Path, tokenizer) -> None:
    found = json.loads(json.dumps(inspect([(str(file), 1.0)], SETTINGS, tokenizer=tokenizer).to_dict()))
    assert found["account"]["reasons"]["identical_answers"]["action"] == "stop"
    assert found["packing"]["packed"] == found["statistics"]["tokens"] == 2 * (10 + 13 + 3)


def test_padding_is_counted_by_hand() -> None:
    found = TokenizedRows.of(rows_of([(4, (2, 3)), (10, (1, 1))]))
    assert padded_tokens(found, 1) == 2 * 7 + 2 * 11
    assert padded_tokens(found, 2) == 4 * 11


def test_rows_alone_without_shared_prompts_need_no_padding() -> None:
    found = TokenizedRows.of(rows_of([(4, (2,)), (9, (3,)), (1, (1,))]))
    assert padded_tokens(found, 1) == int(found.lengths.sum())


def test_the_middle_of_a_long_text_is_counted_not_shown(tokenizer) -> None:
    shown = list(pieces([2] * 500, tokenizer))
    assert len(shown) == SHOWN_START + 1 + SHOWN_END
    assert shown[SHOWN_START] == (None, " [... 320 tokens ...] ")


def test_pieces_make_up_the_text(tokenizer) -> None:
    ids = tokenizer("hello there.")["input_ids"]
    assert "".join(piece for _, piece in pieces(ids, tokenizer)) == "hello there."
