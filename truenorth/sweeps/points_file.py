"""The points of a sweep in a file: a line for each as soon as it is measured."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import CheckpointError
from ..files import write_text


def resumed(file: Path, asked: Mapping[str, object]) -> dict[str, dict[str, list[float]]]:
    """The numbers of the points in `file`, which is made where it is not. A line that a kill cut is taken off.

    Raises CheckpointError where its first line says that it was asked something else.
    """
    head = json.dumps({"sweep": asked})
    if not file.exists():
        write_text(file, f"{head}\n")
        return {}
    lines = [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    before, now = json.loads(lines[0])["sweep"], json.loads(head)["sweep"]
    if other := [name for name in now.keys() | before.keys() if before.get(name) != now.get(name)]:
        raise CheckpointError(
            f"{file} holds numbers with another {', '.join(sorted(other))}: they cannot stand beside new ones. "
            "Give another --out, or take it away."
        )
    write_text(file, "".join(lines))
    return {point["point"]: point["rows"] for point in map(json.loads, lines[1:])}


def add(file: Path, name: str, rows: Mapping[str, Sequence[float]]) -> None:
    """Write a point down."""
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps({"point": name, "rows": rows}) + "\n")


def short(rows: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Seven digits, as float32 has them: what is kept is what was measured."""
    return {name: [float(f"{value:.7g}") for value in values] for name, values in rows.items()}
