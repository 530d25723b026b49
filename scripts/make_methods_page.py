"""Writes docs/methods.md from the methods' docstrings and settings. Run it after changing either."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from truenorth import merging
from truenorth.merges import MERGES
from truenorth.methods import METHODS, describe
from truenorth.optim.update import UPDATES
from truenorth.settings import find, table

PAGE = Path(__file__).parent.parent / "docs" / "methods.md"
HEAD = """# Methods

<!-- Made by scripts/make_methods_page.py from docstrings and settings; changes belong there. -->

Each paper is one short file in `truenorth/methods/`, to be read beside it. `truenorth methods NAME` shows the same.
`--set beta=0.2` changes a setting of the objective, `--set update.learning_rate=1e-6` one of the update.
The source of a default is the paper, its authors' code, or ours. [Which method should I use?](which-method.md)

How certain a loss is, by where it was read: in the `paper`, the authors' `code`, in what `others` say of it (another
library, a study), from `memory`, or `reconstructed` from less. **Differs** says more.
"""
UPDATES_HEAD = """## Updates

Every method takes any of these: `--set update.kind=rmsprop`, or as a whole
`--set "update={kind: torch, optimizer: torch.optim:SGD, learning_rate: 1e-4}"`. These are their own defaults;
a method's recipe comes first.
"""
MERGES_HEAD = """## Merges

`truenorth merge NAME --models A B --out DIR --set keep=0.2` merges models after training; see [merging](merging.md).
"""


def page() -> str:
    """The whole page, in Markdown."""
    methods = [describe(name) for name in METHODS]
    summary = _table(
        ["method", "paper", "read in", "responses per prompt", "rewards", "reference"],
        (
            [
                f"[`{method['name']}`](#{method['name']})",
                method["paper"].partition(";")[0],
                method["read"].partition(":")[0],
                _span(*method["needs"]["responses"]),
                "yes" if "rewards" in method["needs"]["reads"] else "no",
                ", ".join(method["needs"]["references"]) or "none",
            ]
            for method in methods
        ),
    )
    updates = [f"### {name}\n\n{_settings(table(find(path)))}" for name, path in UPDATES.items()]
    merges = [_merge(merging.describe(name)) for name in MERGES]
    return "\n".join([HEAD, summary, *map(_section, methods), UPDATES_HEAD, *updates, MERGES_HEAD, *merges])


def _section(method: Mapping[str, Any]) -> str:
    own = [row for row in method["settings"] if not row["name"].startswith("update.")]
    return "\n".join(
        [
            f"## {method['name']}\n",
            f"{method['title']}. {method['paper']}.\n",
            f"```text\n{method['loss']}\n```\n",
            f"- **Read in** {_line(method['read'])}",
            f"- **Recipe** {_line(method['recipe'])}",
            f"- **Differs** {_line(method['differs'])}\n",
            _settings(own) if own else "It has no settings but the update's.\n",
        ]
    )


def _merge(merge: Mapping[str, Any]) -> str:
    return "\n".join(
        [
            f"### {merge['name']}\n",
            f"{merge['title']}. {merge['paper']}.\n",
            f"```text\n{merge['formula']}\n```\n",
            f"- **Needs** {merge['needs']}",
            f"- **Differs** {_line(merge['differs'])}\n",
            _settings(merge["settings"]) if merge["settings"] else "It has no settings.\n",
        ]
    )


def _settings(rows: Iterable[Mapping[str, Any]]) -> str:
    return _table(
        ["setting", "default", "range", "source", "meaning"],
        (
            [
                f"`{row['name']}`",
                _number(row["default"]),
                row["range"] or row["type"],
                row["source"],
                row["description"],
            ]
            for row in rows
        ),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _span(fewest: int, most: int | None) -> str:
    if most is None:
        return f"{fewest} or more"
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def _line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
