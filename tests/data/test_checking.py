import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from truenorth.data.checking import Checked
from truenorth.data.options import DataSettings
from truenorth.data.prepare import check
from truenorth.errors import DataError

TEXT = st.sampled_from(["a", "b", "", None, 3, ["x"], [{"role": "user", "content": "a"}]])
ROW = st.fixed_dictionaries({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}, optional={"weight": TEXT})
GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}


def checked(folder: Path, rows: list[Any], **options: Any) -> Checked:
    file = folder / "pairs.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    settings = DataSettings(**{"on_problem": "drop", "max_problem_share": 1.0, **options})
    return check([(str(file), 1.0)], settings)


@given(rows=st.lists(ROW, max_size=8))
def test_any_file_is_accounted_for_or_refused(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    try:
        account = checked(tmp_path_factory.mktemp("any"), [GOOD, *rows]).account
    except DataError:
        return
    assert account.read == len(rows) + 1 == account.kept + account.dropped


def test_dropped_rows_are_those_with_a_problem(tmp_path: Path) -> None:
    found = checked(tmp_path, [GOOD, "{", {**GOOD, "chosen": None}, {**GOOD, "prompt": "q"}])
    assert np.concatenate(found.dropped).tolist() == [0, 1, 1, 0]
    assert {name: tally.count for name, tally in found.account.reasons.items()} == {"unparsable": 1, "null_answer": 1}


def test_a_row_with_two_problems_is_dropped_once(tmp_path: Path) -> None:
    found = checked(tmp_path, [GOOD, {"prompt": "", "chosen": "", "rejected": ""}])
    assert found.account.dropped == 1
    assert set(found.account.reasons) == {"empty_prompt", "empty_answer", "identical_answers"}


def test_a_tie_contradicts_nothing(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "responses": ["a", "b"], "scores": scores} for scores in ([1, 1], [2, 1])]
    assert set(checked(tmp_path, rows).account.reasons) == {"tie"}


def test_repeats_are_found_across_files(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
    for file in files:
        file.write_text(json.dumps(GOOD))
    found = check([(str(file), 1.0) for file in files], DataSettings())
    (example,) = found.account.reasons["duplicate"].examples
    assert (example.file, example.row) == (str(files[1]), 1)


def test_the_refusal_shows_how_the_file_was_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)null_answer.*chosen <- chosen \(text in 1 rows, null in 1 rows\)"):
        checked(tmp_path, [GOOD, {**GOOD, "chosen": None}], on_problem="stop")
