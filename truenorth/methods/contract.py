"""What a method's docstring and settings say of it, as data: for `truenorth methods` and the page of methods."""

import inspect
import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import so_many
from ..settings import table

if TYPE_CHECKING:
    from ..recipe import Objective, Recipe


def contract_of(recipe: "Recipe", module: ModuleType) -> dict[str, Any]:
    """Title, paper, where its loss was read, loss, recipe and differs as text; needs; every setting as a row.

    Where a file holds several losses, each class has a `Loss` of its own and the module what they share. Rows that
    a user's own docstring leaves out are empty.
    """
    objective = recipe.objective
    empty = {"title": "", "paper": "", "read": "", "loss": "", "recipe": "ours", "differs": ""}
    text = empty | read(inspect.getdoc(module) or "")
    own = read(inspect.getdoc(type(recipe.update.merging or objective)) or "")
    text |= own if "loss" in own else {}
    return text | {
        "year": year_of(text["paper"]),
        "needs": needs_of(objective),
        "rounds": rounds_of(recipe),
        "settings": table(type(objective)) + update_of(recipe, text["recipe"]) + timing_of(recipe),
    }


def of_sum(recipe: "Recipe", parts: Sequence[tuple[float, Mapping[str, Any]]]) -> dict[str, Any]:
    """The same of a sum, from the weight and the contract of each part; settings are named as `--set` takes them."""
    names = [part["name"] for _, part in parts]
    rows = list[dict[str, Any]]()
    for place, (weight, part) in enumerate(parts):
        own = part["name"] if names.count(part["name"]) == 1 else f"parts.{place}"
        path = own if own == part["name"] else f"{own}.objective"
        rows += [WEIGHT | {"name": f"{own}.weight", "default": weight}]
        rows += [row | {"name": f"{path}.{row['name']}"} for row in _own_settings(part)]
    return {
        "title": " + ".join(_times(weight, short_title(part["title"])) for weight, part in parts),
        "paper": "; ".join(dict.fromkeys(part["paper"] for _, part in parts if part["paper"])),
        "year": max((part["year"] for _, part in parts if part["year"]), default=None),
        "read": "; ".join(f"{part['name']}: {part['read']}" for _, part in parts if part["read"]),
        "loss": "\n".join(f"{_times(weight, part['name'])}:  {part['loss']}" for weight, part in parts),
        "recipe": f"ours: the references of all parts; the update of {names[0]}. {parts[0][1]['recipe']}",
        "differs": "\n".join(f"{part['name']}: {part['differs']}" for _, part in parts),
        "needs": needs_of(recipe.objective),
        "rounds": rounds_of(recipe),
        "settings": rows + update_of(recipe, parts[0][1]["recipe"]) + timing_of(recipe),
    }


WEIGHT = {"type": "number", "range": "(0, inf)", "source": "ours", "description": "of the part's loss in the sum"}


def _own_settings(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        row for row in part["settings"] if not row["name"].startswith(("update.", *(f"{part}." for part in TIMING)))
    ]


TIMING = ("schedule", "domains", "chase", "clients")  # who learns when: parts that a recipe may do without


def timing_of(recipe: "Recipe") -> list[dict[str, Any]]:
    """A row per setting of the rounds and of the chase, none where there are none."""
    found = [(name, part) for name in TIMING if (part := getattr(recipe, name)) is not None]
    return [
        row | {"name": f"{name}.{row['name']}", "default": part.model_dump(mode="json")[row["name"]]}
        for name, part in found
        for row in table(type(part))
    ]


def _times(weight: float, what: str) -> str:
    return what if weight == 1 else f"{weight:g} * {what}"


def rounds_of(recipe: "Recipe") -> dict[str, Any] | None:
    """What rounds of self-play begin from, rows or prompts, and whether they ask a judge; None: there are none."""
    if recipe.schedule is None:
        return None
    return {"from": "rows" if recipe.schedule.from_rows else "prompts", "judge": recipe.asks_a_judge}


def needs_of(objective: "Objective") -> dict[str, Any]:
    """What data and references an objective reads."""
    return {
        "responses": list(objective.candidates),
        "reads": sorted(objective.reads),
        "references": list(objective.references),
        "columns": list(objective.columns),
    }


def update_of(recipe: "Recipe", about: str) -> list[dict[str, Any]]:
    """A row per setting of the update. `about` is the docstring's `Recipe`: where its values come from."""
    defaults, source = recipe.update.model_dump(mode="json"), about.partition(":")[0]
    given = recipe.update.model_fields_set  # what the recipe sets; the rest is ours
    rows = [
        row
        | {"name": f"update.{(name := row['name'])}", "default": defaults[name]}
        | ({"source": source} if name in given else {})
        for row in table(type(recipe.update))
        if row["name"] not in ("merging", "compile")  # the one has rows of its own, the other is no method's
    ]
    if (rule := recipe.update.merging) is not None:
        rows += [row | {"name": f"update.merging.{row['name']}"} for row in table(type(rule))]
    return rows


def year_of(paper: str) -> int | None:
    """The year in which `paper` came out, None where it does not say.

    >>> year_of("Ji et al. 2024, arXiv:2402.00856")
    2024
    """
    found = re.search(r"\b(?:19|20)\d\d\b", paper)
    return int(found[0]) if found else None


def read(docstring: str) -> dict[str, str]:
    """The rows of a cleaned docstring by name in lower case, and its first line as `title`.

    >>> read("Softmax DPO.\\n\\nPaper    Chen et al. 2024\\nDiffers  in\\n         nothing.")
    {'title': 'Softmax DPO', 'paper': 'Chen et al. 2024', 'differs': 'in\\nnothing.'}
    """
    rows = {"title": docstring.partition("\n")[0].rstrip(".")}
    for name, text in re.findall(r"^([A-Z]\w+) {2,}(.*(?:\n {4,}.*)*)", docstring, re.MULTILINE):
        rows[name.lower()] = "\n".join(line.strip() for line in text.splitlines())
    return rows


def short_title(title: str) -> str:
    """A title's name alone, as it stands in a sum.

    >>> short_title("Odds Ratio Preference Optimization: SFT and a penalty"), short_title("A, and its twin")
    ('Odds Ratio Preference Optimization', 'A')
    """
    return re.split("[:,]", title)[0]


def answers(fewest: int, most: int | None) -> str:
    """How many answers to a prompt, in words.

    >>> answers(2, 2), answers(1, 1), answers(2, None), answers(1, 2)
    ('pairs', 'one answer', '2 or more answers', '1 to 2 answers')
    """
    said = so_many(fewest, most, "answer")
    return {"1 answer": "one answer", "2 answers": "pairs"}.get(said, said)
