"""`truenorth methods` as tables: what there is, and all of one method."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..methods.contract import answers

SOURCES = "Source of a default: paper, the authors' code, or ours."
READ = (
    "The loss was read in the paper, the authors' code or what others say of it, or is from memory or reconstructed."
)


def table_of_methods(methods: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Each method: name, year, paper, what it needs and is. `methods` are as `methods.describe` has them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", style="bold cyan", no_wrap=True)
    table.add_column("year", no_wrap=True)
    table.add_column("paper", no_wrap=True)
    table.add_column("needs, and what it is", ratio=1)
    for method in methods:
        about = Text.assemble(asks(method), "\n", (method["title"], "dim"))
        table.add_row(method["name"], str(method["year"] or ""), short_paper(method["paper"]), about)
    hint = "`truenorth methods NAME` shows its loss and its settings; `truenorth train NAME` trains with it."
    return Group(table, Text(f"\n{hint}", style="dim"))


def short_paper(paper: str) -> str:
    """The number under which a paper is found, or its authors where it has none.

    >>> short_paper("Ji et al. 2024, arXiv:2402.00856; code read"), short_paper("Doe 2020, a talk")
    ('arXiv:2402.00856', 'Doe 2020')
    """
    found = re.search(r"arXiv:\d{4}\.\d{5}", paper)
    return found[0] if found else paper.partition(",")[0]


def asks(method: Mapping[str, Any]) -> str:
    """What a method learns from, in words: rows, or in rounds prompts of which it makes them."""
    rounds = method["rounds"]
    if rounds is None:
        return needs(method["needs"])
    return ("prompts" if rounds["from"] == "prompts" else needs(method["needs"])) + " and a judge" * rounds["judge"]


def needs(of: Mapping[str, Any]) -> str:
    """What the data must bring, in words.

    >>> needs({"responses": [2, None], "reads": ["rewards"], "references": ["initial"], "columns": []})
    '2 or more answers, scores'
    """
    words = {"rewards": "scores", "wins": "a judge of pairs"}
    further = [words[read] for read in of["reads"] if read in words] + [f"column {name}" for name in of["columns"]]
    return ", ".join([answers(*of["responses"]), *further])


def one_method(method: Mapping[str, Any]) -> RenderableType:
    """Everything about one method: its paper, its loss, what it needs, and its settings."""
    head = Text.assemble((method["name"], "bold cyan"), "  ", (method["title"], "bold"))
    about = Table.grid(padding=(0, 2))
    about.add_column(style="dim", no_wrap=True)
    about.add_column()
    for name in ("paper", "read", "loss", "recipe", "differs"):
        if method.get(name):
            about.add_row(name, _loss(method[name]) if name == "loss" else " ".join(method[name].split("\n")))
    about.add_row("needs", asks(method))
    about.add_row("references", ", ".join(method["needs"]["references"]) or "none")
    return Group(
        head,
        about,
        Text("\nSettings, for --set or YAML", style="bold"),
        _settings(method["settings"]),
        Text(f"\n{SOURCES} {READ}", style="dim"),
    )


def table_of_merges(merges: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Each merge: its name, its paper, what it needs, what it is. `merges` are as `merging.describe` has them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("merge", style="bold cyan", no_wrap=True)
    table.add_column("paper", no_wrap=True)
    table.add_column("needs, and what it is", ratio=1)
    for merge in merges:
        about = Text.assemble(merge["needs"], "\n", (merge["title"], "dim"))
        table.add_row(merge["name"], short_paper(merge["paper"]), about)
    hint = "`truenorth merge NAME --models A B --out DIR` merges models after training."
    return Group(Text(""), table, Text(f"\n{hint}", style="dim"))


def one_merge(merge: Mapping[str, Any]) -> RenderableType:
    """Everything about one merge: its paper, its formula, what it needs, and its settings."""
    about = Table.grid(padding=(0, 2))
    about.add_column(style="dim", no_wrap=True)
    about.add_column()
    for name in ("paper", "formula", "differs", "needs"):
        about.add_row(name, _loss(merge[name]) if name == "formula" else " ".join(merge[name].split("\n")))
    head = Text.assemble((merge["name"], "bold cyan"), "  ", (merge["title"], "bold"))
    if not merge["settings"]:
        return Group(head, about, Text("\nIt has no settings.", style="dim"))
    settings = _settings(merge["settings"])
    return Group(head, about, Text("\nSettings, for --set", style="bold"), settings, Text(f"\n{SOURCES}", style="dim"))


def _loss(text: str) -> Text:
    """The loss, and a line for each of its symbols: in a docstring they may share one, with `,  ` between."""
    return Text("\n".join(part.rstrip(",") for part in text.replace(",  ", "\n").split("\n")), style="cyan")


def _settings(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row per setting. What is allowed and what it means share a column, so that 80 columns are enough."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("name", "default", "source"):
        table.add_column(column, style="cyan" if column == "name" else "", no_wrap=True)
    table.add_column("allowed, meaning", ratio=1)
    for row in rows:
        allowed = row["range"].replace("inf", "∞") or row["type"].replace("null", "none")
        meaning = Text.assemble((allowed, "bold"), "  ", row["description"])
        table.add_row(row["name"], shown(row["default"]), row["source"], meaning)
    return table


def shown(value: object) -> str:
    """A default as one would write it in YAML; `none` where there is none.

    >>> shown([0.9, 0.95]), shown(None), shown(1e-06)
    ('[0.9, 0.95]', 'none', '1e-06')
    """
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):  # a part as it comes
        return str(value.get("kind", value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
