"""The script that makes the embedded world makes the same one each time."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_world.py"


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(tmp_path):
    made = []
    for name in ("first", "second"):
        subprocess.run([sys.executable, SCRIPT, "--quick", "--out", tmp_path / name], check=True, capture_output=True)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        made.append({str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files})
    assert made[0]
    assert made[0] == made[1]
