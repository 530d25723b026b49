"""A file imports only from floors below its own, and packages on one floor do not import each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "truenorth"
FLOORS: dict[str, int] = {
    **dict.fromkeys(
        ["types", "errors", "settings", "contrasts", "files", "proportions", "launch", "pulse", "processes"], 0
    ),
    **dict.fromkeys(["data", "games", "weights", "world"], 1),
    **dict.fromkeys(["models", "optim", "merges"], 2),
    **dict.fromkeys(
        [
            "recipe",
            "run",
            "schedule",
            "selection",
            "domains",
            "chase",
            "clients",
            "judge",
            "completions",
            "stream",
            "together",
        ],
        3,
    ),
    **dict.fromkeys(["methods", "train"], 4),
    **dict.fromkeys(["online", "evaluate"], 5),
    **dict.fromkeys(
        [
            "session",
            "chased",
            "players",
            "feeds",
            "outcome",
            "job",
            "refusals",
            "demo",
            "cli",
            "commands",
            "flags",
            "games_command",
            "generate_command",
            "evaluate_command",
            "judge_command",
            "measuring",
            "planning",
            "names",
            "request",
            "stopping",
            "merging",
            "merge_command",
            "fitting",
            "ascent",
            "sweeps",
            "continual",
            "__main__",
        ],
        6,
    ),
}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def unit(module: tuple[str, ...]) -> str:
    """The package or single file below truenorth that a dotted path belongs to."""
    return module[0] if module else ""


def imports_of(path: Path) -> set[str]:
    """The units of truenorth that a file imports, inside functions and for type checking too."""
    here = path.relative_to(ROOT).with_suffix("").parts
    package = here[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            base = package[: len(package) - node.level + 1]
            target = (*base, *(node.module.split(".") if node.module else ()))
            found |= {unit(target)} if target else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "truenorth":
            rest = tuple((node.module or "").split(".")[1:])
            found |= {unit(rest)} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {unit(tuple(a.name.split(".")[1:])) for a in node.names if a.name.startswith("truenorth.")}
    return found - {""}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_from_floors_below(path: Path) -> None:
    own = unit(path.relative_to(ROOT).with_suffix("").parts)
    assert own in FLOORS, f"{own} stands on no floor: add it to FLOORS and to docs/reading-order.md"
    for other in imports_of(path) - {own}:
        top = (FLOORS[own] == 6 and FLOORS[other] == 6) or (FLOORS[own] == 3 and FLOORS[other] == 3)
        below = FLOORS[other] < FLOORS[own]
        single_files = FLOORS[own] == 0 and FLOORS[other] == 0  # single files of the ground floor may lean on errors
        assert below or top or single_files, f"{path.name} (floor {FLOORS[own]}) imports {other} ({FLOORS[other]})"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_300_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_no_file_is_named_for_nothing() -> None:
    nothing = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler"}
    assert not {path.stem for path in FILES} & nothing
