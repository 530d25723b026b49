"""What the docs say in tables is what the code does."""

import ast
import re
from pathlib import Path

from tests.test_floors import FLOORS
from tests.tiny import PADDED, SHARING
from truenorth.methods import METHODS, describe, recipe
from truenorth.train.diagnosis import UNMOVED_TITLE
from truenorth.train.rounding import drowned_title

DOCS = Path(__file__).parent.parent / "docs"


def test_the_table_of_architectures_is_the_one_that_is_tested() -> None:
    rows = re.findall(r"^\| (\w+) \| (shared|padded) \|", (DOCS / "architectures.md").read_text(), re.MULTILINE)
    assert dict(rows) == dict.fromkeys(SHARING, "shared") | dict.fromkeys(PADDED, "padded")


def test_every_floor_in_the_reading_order_is_the_one_that_is_tested() -> None:
    floors = (DOCS / "reading-order.md").read_text().partition("## Floors")[2]
    rows = re.findall(r"^\| (\d) \| (.*) \|$", floors, re.MULTILINE)
    told = {name.rstrip("/"): int(floor) for floor, names in rows for name in re.findall(r"`([\w/]+)`", names)}
    assert told == FLOORS


def test_every_file_that_the_docs_name_is_there() -> None:
    root = DOCS.parent
    for page in [*DOCS.glob("*.md"), root / "README.md"]:
        for name in re.findall(r"`((?:truenorth|tests|scripts|docs|benchmarks|examples)/[\w/.-]+)`", page.read_text()):
            assert (root / name).exists(), f"{page.name} names {name}"


def named_methods(text: str) -> set[str]:
    """What stands in backticks as a name: methods, and the settings and columns that the page tells of."""
    return {
        name for span in re.findall(r"`([^`]+)`", text) for name in re.findall(r"[a-z]\w+", span.partition(" --")[0])
    }


def test_the_page_of_which_method_names_every_method_and_no_other() -> None:
    page = (DOCS / "which-method.md").read_text()
    others = {"truenorth", "methods", "inspect", "beta", "label_smoothing", "weight", "set", "references", "initial"}
    assert named_methods(page) - others - {"kind", "soup"} == set(METHODS)


def test_the_papers_of_the_page_of_which_method_are_those_of_the_methods() -> None:
    sections = (DOCS / "which-method.md").read_text()
    for name, number in re.findall(r"`(\w+)` \(arXiv:(\d{4}\.\d{5})\)", sections):
        assert f"arXiv:{number}" in describe(name)["paper"], f"the page gives {name} the paper {number}"


def test_methods_that_the_page_calls_free_of_a_reference_have_none() -> None:
    said = re.search(
        r"LoRA needs none besides\.(.*?)have no reference", (DOCS / "which-method.md").read_text(), re.DOTALL
    )
    assert said is not None
    assert not any(recipe(name).references for name in re.findall(r"`(\w+)`", said[1]))


def test_the_page_of_findings_lists_each_that_is_no_good_news() -> None:
    root, told = DOCS.parent / "truenorth", set[str]()
    for file in [*(root / "train").glob("*.py"), root / "evaluate" / "samples.py"]:
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Finding":
                level, title = (getattr(argument, "value", None) for argument in call.args[:2])
                told |= {title} if isinstance(title, str) and level != "good" else set()
    rows = re.findall(r"^\| ([A-Z].*?) \| ", (DOCS / "report.md").read_text(), re.MULTILINE)
    assert set(rows) == told | {UNMOVED_TITLE, drowned_title("bfloat16")}
