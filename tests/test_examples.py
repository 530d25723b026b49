"""The examples run as they stand, and stay short."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.tiny import tiny_directory
from truenorth import align, methods

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.stem)
def test_an_example_has_at_most_forty_lines(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 40


def test_the_world_is_aligned_from_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["align_world.py", str(tmp_path / "run"), "1"])
    runpy.run_path(str(EXAMPLES / "align_world.py"), run_name="__main__")
    assert Path(capsys.readouterr().out.strip()).exists()


def test_a_method_of_ones_own_trains_without_touching_the_package(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text(
        "".join(json.dumps({"prompt": f"{i}?", "chosen": "yes", "rejected": "no"}) + "\n" for i in range(4))
    )
    own = methods.recipe("examples.own_method:recipe", beta=0.2)
    model = tiny_directory(tmp_path / "sft")
    result = align(own, model=str(model), data=str(data), out=tmp_path / "run", samples=0, precision="float32")
    assert result.summary["step0"]["expected"] == 1.0
    assert methods.load(methods.dump(own)) == own
