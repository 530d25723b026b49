"""What every page of ours is made with: templates that escape all text, settings as text, and safe links."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ..train.evidence import short
from .headline import duration, title

TEMPLATES = Path(__file__).parent / "templates"
ARXIV = re.compile(r"\b(?:arXiv:\s*)?(\d{4}\.\d{4,5})(v\d+)?\b", re.IGNORECASE)


def environment() -> Environment:
    """Templates with autoescape: texts of models and files are shown, never obeyed. A name not given raises."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["say"] = say
    made.filters["short"] = short
    made.filters["linked"] = linked
    made.filters["title"] = title
    made.filters["duration"] = duration
    return made


def linked(text: str) -> Markup:
    """Text with its arXiv numbers as links: the only addresses in a report, and none is loaded."""
    parts: list[str] = []
    end = 0
    for match in ARXIV.finditer(text):
        parts += [
            escape(text[end : match.start()]),
            Markup('<a href="https://arxiv.org/abs/{}">{}</a>').format(*match.group(1, 0)),
        ]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted path, value), in their order.

    >>> flat({"objective": {"kind": "exo", "beta": 0.1}, "lora": None})
    [('objective.kind', 'exo'), ('objective.beta', '0.1'), ('lora', 'none')]
    """
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            for i, item in enumerate(value):
                rows += flat({f"{name}[{i}]": item}, prefix)
        else:
            rows.append((prefix + name, say(value)))
    return rows


def say(value: object) -> str:
    """A setting or a count as the report shows it: exact, since somebody may type it in again."""
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return re.sub(r"e-0", "e-", f"{value:.12g}")
    if isinstance(value, list):
        return ", ".join(map(say, value))
    return str(value)
