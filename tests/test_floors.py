"""A file imports only from floors below its own, packages on one floor not from each other; and all stay short."""

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
ARGUMENTS, LINES = 5, 50  # of a function, at most
MORE = {  # arguments, and why
    "cli.games": "options of a command",
    "games_command.games_command": "options of a command",
    "measuring.contest.win_rate": "settings of a call that users write",
    "models.attention.attend": "as transformers calls it",
    "models.rehearsal.attend": "as transformers calls it",
    "models.head.forward": "as torch.autograd calls it",
    "models.rehearsal.forward": "as torch.autograd calls it",
    "optim.merging.__init__": "each a fact of its own",
    "session.begin": "each a fact of its own",
    "train.client_steps.__init__": "each a fact of its own",
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


def functions() -> dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Of truenorth, by the module's dotted name and their own."""
    found: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
    for path in FILES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.setdefault(f"{module}.{node.name}", []).append(node)
    return found


def arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return sum(one.arg not in ("self", "cls") for one in given)


def test_no_function_takes_more_arguments_than_a_reader_can_hold() -> None:
    assert {name for name, found in functions().items() if max(map(arguments, found)) > ARGUMENTS} == MORE.keys()


def test_no_function_is_longer_than_a_page() -> None:
    long = [name for name, found in functions().items() for f in found if (f.end_lineno or 0) - f.lineno >= LINES]
    assert long == []


def test_no_file_is_named_for_nothing() -> None:
    nothing = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler"}
    assert not {path.stem for path in FILES} & nothing
