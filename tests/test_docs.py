"""What the docs say in tables is what the code does."""

import re
from pathlib import Path

from tests.test_floors import FLOORS
from tests.tiny import PADDED, SHARING

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
