"""Recipes as dicts, from YAML and back, and with one setting changed as `--set` does."""

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import methods
from ..errors import SettingsError, did_you_mean
from ..settings import Part, Settings, build, scalar
from .terms import is_sum, names_of

if TYPE_CHECKING:
    from ..recipe import Recipe

# Another objective is another method.
_ANOTHER = re.compile(r"method|objective(\.parts|\.\d+|\.objective)*(\.kind)?")
MERGING = "update.merging"
SUM = "truenorth.methods.weighted_sum:WeightedSum"


def dump(recipe: "Recipe") -> dict[str, Any]:
    """A recipe as dicts, lists, text and numbers, each part with its `kind`; `load` gives it back."""
    return recipe.model_dump(mode="json")


def load(data: Mapping[str, Any]) -> "Recipe":
    """The recipe that `data` describes. What it leaves out is as in the recipe of its `method`.

    An objective or an update with a `kind` stands for itself; one without changes some fields of the method's own.
    The `method` of an objective of kind `sum` is its parts', where it is left out.

    >>> load({"method": "exo", "objective": {"beta": 0.2}}) == methods.recipe("exo", beta=0.2)
    True
    """
    from ..recipe import Recipe

    parts: dict[str, Any] = dict(data)
    name = parts.setdefault("method", method_of(parts.get("objective")))
    if not isinstance(name, str):
        known = ", ".join(methods.METHODS)
        raise SettingsError(f"a recipe needs `method`, one of {known}, a sum of them, or your own; got {name!r}.")
    parts["method"] = " + ".join(names_of(name))  # a sum's weights are the objective's to say
    if not {"objective", "references"} <= set(parts) if is_sum(name) else _has_own(name, parts):
        own = dump(methods.recipe(name))
        for part in ("objective", "update", "schedule", "domains", "chase", "clients"):
            if isinstance(given := parts.get(part), Mapping) and "kind" not in given:
                parts[part] = {**(own[part] or {}), **given}
        parts = own | parts
    parts["objective"] = objective_of(parts["objective"])
    return Recipe(**parts)


def method_of(objective: object) -> str | None:
    """The method that an objective of kind `sum` makes, from the kinds of its parts; None where that cannot be said.

    >>> method_of({"kind": "sum", "parts": [{"objective": {"kind": "dpo"}}, {"objective": {"kind": "simpo"}}]})
    'dpo + simpo'
    """
    match objective:
        case {"kind": "sum", "parts": [*parts]}:
            kinds = [part["objective"]["kind"] for part in parts if _is_part(part)]
        case _:
            return None
    return " + ".join(kinds) if len(kinds) == len(parts) and set(kinds) <= set(methods.METHODS) else None


def _is_part(part: object) -> bool:
    match part:
        case {"objective": {"kind": str()}}:
            return True
        case _:
            return False


def _has_own(method: str, parts: Mapping[str, Any]) -> bool:
    """Whether what is left out is as in the recipe of the method; a name of the user's own may have none."""
    return method in methods.METHODS or "objective" not in parts


_LACKS = {  # a part of a recipe that some methods have -> what a method without it does
    "schedule": "trains on rows of a file and plays no rounds",
    "chase": "trains one policy, and no fast and slow module",
}


def _refuse_what_it_lacks(recipe: "Recipe", key: str) -> None:
    """Raise SettingsError for a setting of a part that the recipe does not have, with the methods that do."""
    part = key.partition(".")[0]
    if part == key or getattr(recipe, part, 0) is not None or part not in _LACKS:
        return
    having = [name for name in methods.METHODS if getattr(methods.recipe(name), part) is not None]
    raise SettingsError(f"{recipe.method} {_LACKS[part]}: {key} is a setting of {', '.join(having)}.")


def override(recipe: "Recipe", key: str, value: object) -> "Recipe":
    """The recipe with one setting changed, as `--set KEY=VALUE` does; text is read as YAML, `none` is nothing.

    A bare key is the objective's field, or one of the rule by which the update merges; any other part's is a dotted
    path. In a sum, `dpo.beta` is that part's and `dpo.weight` its weight, or `parts.0.objective.beta` and
    `parts.0.weight` where a kind comes twice. A new `kind` of a part comes with its own defaults, but for what all
    kinds share (an update's learning rate).

    >>> override(methods.recipe("exo"), "update.learning_rate", "5e-7").update.learning_rate
    5e-07
    """
    data = dump(recipe)
    short = _short(data["objective"])
    paths = short | {path.removeprefix("objective."): path for path in _paths(data) if not _ANOTHER.fullmatch(path)}
    name = key.removeprefix("objective.")
    if name not in paths and f"{MERGING}.{name}" in paths:
        name = f"{MERGING}.{name}"
    part, _, field = name.partition(".")
    if part in ("clients", "domains") and field and name not in paths:  # there are none yet: some with this setting
        name, value = part, {field: scalar(value) if isinstance(value, str) else value}
    if name == f"{MERGING}.kind" and name not in paths:  # there is none yet: one of this kind, as it comes
        name, value = MERGING, {"kind": value}
    if name not in paths:
        _refuse_what_it_lacks(recipe, key)
        shown = [name for name, path in paths.items() if name in short or path not in short.values()]
        raise SettingsError(
            f"{recipe.method} has no setting {key}.{did_you_mean(name, paths)} It has {', '.join(shown)}."
        )
    return _with(recipe, paths[name].split("."), scalar(value) if isinstance(value, str) else value)


def path_of(recipe: "Recipe", name: str) -> str | None:
    """Where in a recipe the setting `name` stands, as `override` takes it; None where no part has it.

    >>> path_of(methods.recipe("online_dpo"), "rounds"), path_of(methods.recipe("dpo"), "seed")
    ('schedule.rounds', None)
    """
    return next((path for path in _paths(dump(recipe)) if path.rpartition(".")[2] == name), None)


def objective_of(value: object) -> object:
    """`value` built, if it is a mapping: a short `kind` is looked up in the module of that row of METHODS."""
    if not isinstance(value, Mapping):
        return value
    from ..recipe import Objective

    kinds, value = {**methods.METHODS, "sum": SUM}, _parts_built(value)
    if isinstance(kind := value.get("kind"), str) and kind in methods.METHODS:
        module = methods.METHODS[kind].partition(":")[0]
        for name, found in vars(importlib.import_module(module)).items():
            if isinstance(found, type) and issubclass(found, Objective) and vars(found).get("kind") == kind:
                kinds[kind] = f"{module}:{name}"
    return build(Objective, value, kinds)


def _parts_built(value: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The same, with the objectives of a sum's parts built."""
    if value.get("kind") != "sum" or not isinstance(value.get("parts"), list):
        return value
    parts = [
        {**part, "objective": objective_of(part["objective"])}
        if isinstance(part, Mapping) and "objective" in part
        else part
        for part in value["parts"]
    ]
    return {**value, "parts": parts}


def _short(objective: Mapping[str, Any]) -> dict[str, str]:
    """`dpo.beta` -> its dotted path, for every setting of a sum's parts whose kind is there once."""
    short: dict[str, str] = {}
    kinds = [part["objective"]["kind"] for part in objective.get("parts", ())] if objective["kind"] == "sum" else []
    for place, kind in enumerate(kinds):
        if kinds.count(kind) == 1:
            path = f"objective.parts.{place}"
            fields = [field for field in _paths(objective["parts"][place]["objective"]) if field != "kind"]
            short |= {f"{kind}.weight": f"{path}.weight"}
            short |= {f"{kind}.{field}": f"{path}.objective.{field}" for field in fields}
    return short


def _paths(data: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted path into nested mappings and lists of them, `update` before `update.learning_rate`."""
    for name, value in data.items() if isinstance(data, Mapping) else enumerate(data):
        yield f"{prefix}{name}"
        if isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping)):
            yield from _paths(value, f"{prefix}{name}.")


def _shared(node: Part) -> Iterable[str]:
    """The fields that all kinds of a part have; one kind's default may be its own."""
    return type(node).__bases__[0].model_fields


def _with(node: Any, path: Sequence[str], value: object) -> Any:
    """`node` with what lies at `path` in it replaced by `value`, validated on every level."""
    if not path:
        return value
    name, *rest = path
    if isinstance(node, Part) and name == "kind":
        own = {field: (getattr(node, field), type(node).model_fields[field].default) for field in _shared(node)}
        return {"kind": value} | {field: now for field, (now, default) in own.items() if now != default}
    if isinstance(node, Settings):
        return node.replace(**{name: _with(getattr(node, name), rest, value)})
    if isinstance(node, tuple):
        return tuple(_with(part, rest, value) if place == int(name) else part for place, part in enumerate(node))
    return {**node, name: _with(node[name], rest, value)}
