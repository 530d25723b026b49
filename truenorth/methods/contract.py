"""What a method's docstring and settings say of it, as data: for `truenorth methods` and the page of methods."""

import inspect
import re
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..settings import table

if TYPE_CHECKING:
    from ..recipe import Recipe


def contract_of(recipe: "Recipe", module: ModuleType) -> dict[str, Any]:
    """Title, paper, loss, recipe and differs as text; what the data must bring; every setting as a row.

    Where a file holds several losses, each class has a `Loss` of its own and the module what they share. Rows that
    a user's own docstring leaves out are empty.
    """
    objective = type(recipe.objective)
    text = {"title": "", "paper": "", "loss": "", "recipe": "ours", "differs": ""} | read(inspect.getdoc(module) or "")
    own = read(inspect.getdoc(objective) or "")
    text |= own if "loss" in own else {}
    defaults, source = recipe.update.model_dump(mode="json"), text["recipe"].partition(":")[0]
    given = recipe.update.model_fields_set  # what the recipe sets; the rest is ours
    update = [
        row
        | {"name": f"update.{(name := row['name'])}", "default": defaults[name]}
        | ({"source": source} if name in given else {})
        for row in table(type(recipe.update))
    ]
    return text | {
        "needs": {
            "responses": list(objective.candidates),
            "reads": sorted(objective.reads),
            "references": list(objective.references),
            "columns": list(objective.columns),
        },
        "settings": table(objective) + update,
    }


def read(docstring: str) -> dict[str, str]:
    """The rows of a cleaned docstring by name in lower case, and its first line as `title`.

    >>> read("Softmax DPO.\\n\\nPaper    Chen et al. 2024\\nDiffers  in\\n         nothing.")
    {'title': 'Softmax DPO', 'paper': 'Chen et al. 2024', 'differs': 'in\\nnothing.'}
    """
    rows = {"title": docstring.partition("\n")[0].rstrip(".")}
    for name, text in re.findall(r"^([A-Z]\w+) {2,}(.*(?:\n {4,}.*)*)", docstring, re.MULTILINE):
        rows[name.lower()] = "\n".join(line.strip() for line in text.splitlines())
    return rows
