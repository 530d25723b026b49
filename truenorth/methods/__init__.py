"""The methods: one paper, one file. Importing this table imports none of them, nor torch.

`recipe("exo", beta=0.2)` and `from truenorth.methods import exo; exo.recipe(beta=0.2)` give the same recipe.
"""

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import SettingsError, did_you_mean
from ..settings import Part, Settings, build, find
from .contract import contract_of

if TYPE_CHECKING:
    from ..recipe import Recipe

METHODS: Mapping[str, str] = {  # in order of publication
    "sft": "truenorth.methods.sft:recipe",
    "slic": "truenorth.methods.slic:recipe",
    "dpo": "truenorth.methods.dpo:recipe",
    "rso": "truenorth.methods.rso:recipe",
    "f_divergence_dpo": "truenorth.methods.f_divergence_dpo:recipe",
    "js_dpo": "truenorth.methods.f_divergence_dpo:jensen_shannon_recipe",
    "ipo": "truenorth.methods.ipo:recipe",
    "cpo": "truenorth.methods.cpo:recipe",
    "exo": "truenorth.methods.exo:recipe",
    "exo_rw": "truenorth.methods.exo:reward_recipe",
    "dpo_rw": "truenorth.methods.exo:forward_recipe",
    "kto": "truenorth.methods.kto:recipe",
    "nca": "truenorth.methods.nca:recipe",
    "nca_rw": "truenorth.methods.nca:reward_recipe",
    "odpo": "truenorth.methods.odpo:recipe",
    "robust_dpo": "truenorth.methods.robust_dpo:recipe",
    "orpo": "truenorth.methods.orpo:recipe",
    "bco": "truenorth.methods.bco:recipe",
    "sppo_hard": "truenorth.methods.sppo_hard:recipe",
    "simpo": "truenorth.methods.simpo:recipe",
    "mallows_dpo": "truenorth.methods.mallows_dpo:recipe",
    "mallows_phi_dpo": "truenorth.methods.mallows_dpo:phi_recipe",
    "mrpo": "truenorth.methods.mrpo:recipe",
    "mrpo_geometric": "truenorth.methods.mrpo:geometric_recipe",
    "rpo": "truenorth.methods.rpo:recipe",
    "rpo_average": "truenorth.methods.rpo:average_recipe",
    "aps": "truenorth.methods.aps:recipe",
    "aot": "truenorth.methods.aot:recipe",
    "aot_unpaired": "truenorth.methods.aot:unpaired_recipe",
    "discopop": "truenorth.methods.discopop:recipe",
    "sdpo": "truenorth.methods.sdpo:recipe",
    "wpo": "truenorth.methods.wpo:recipe",
    "apo_zero": "truenorth.methods.apo:recipe",
    "apo_down": "truenorth.methods.apo:down_recipe",
    "asft": "truenorth.methods.asft:recipe",
    "mmpo": "truenorth.methods.mmpo:recipe",
    "dpo_norm": "truenorth.methods.dpo_norm:recipe",
}


def recipe(name: str, **settings: Any) -> "Recipe":
    """The recipe of a method in METHODS, or of a user's own `package.module:function`.

    >>> recipe("exo", beta=0.2).objective
    EXO(beta=0.2, epsilon=0.001)
    """
    if name not in METHODS and ":" not in name:
        known = ", ".join(METHODS)
        hint = did_you_mean(name, METHODS)
        raise SettingsError(f"There is no method {name!r}.{hint} There are {known}, and package.module:function.")
    return find(METHODS.get(name, name))(**settings)


def describe(name: str) -> dict[str, Any]:
    """What `truenorth methods NAME` shows: title, paper, loss, recipe, differs, needs, and a row per setting."""
    described = recipe(name)  # first, for its message where there is no such method
    module, _, _ = METHODS.get(name, name).partition(":")
    return {"name": name, **contract_of(described, importlib.import_module(module))}


def dump(recipe: "Recipe") -> dict[str, Any]:
    """A recipe as dicts, lists, text and numbers, each part with its `kind`; `load` gives it back."""
    return recipe.model_dump(mode="json")


def load(data: Mapping[str, Any]) -> "Recipe":
    """The recipe that `data` describes. What it leaves out is as in the recipe of its `method`.

    An objective or an update with a `kind` stands for itself; one without changes some fields of the method's own.

    >>> load({"method": "exo", "objective": {"beta": 0.2}}) == recipe("exo", beta=0.2)
    True
    """
    from ..recipe import Recipe

    parts: dict[str, Any] = dict(data)
    name = parts.get("method")
    if not isinstance(name, str):
        raise SettingsError(f"a recipe needs `method`, one of {', '.join(METHODS)} or your own; got {name!r}.")
    if name in METHODS or "objective" not in parts:
        own = dump(recipe(name))
        for part in ("objective", "update"):
            if isinstance(given := parts.get(part), Mapping) and "kind" not in given:
                parts[part] = own[part] | given
        parts = own | parts
    parts["objective"] = _objective(parts["objective"])
    return Recipe(**parts)


def override(recipe: "Recipe", key: str, value: object) -> "Recipe":
    """The recipe with one setting changed, as `--set KEY=VALUE` does; text is read as YAML, `none` is nothing.

    A bare key is the objective's field; any other part's is a dotted path. A new `kind` of a part comes with its own
    defaults, but for what all kinds share (an update's learning rate).

    >>> override(recipe("exo"), "update.learning_rate", "5e-7").update.learning_rate
    5e-07
    """
    paths = {path.removeprefix("objective."): path for path in _paths(dump(recipe))}
    for part in ("method", "objective", "kind"):
        paths.pop(part, None)  # another objective is another method
    if (name := key.removeprefix("objective.")) not in paths:
        hint = did_you_mean(name, paths)
        raise SettingsError(f"{recipe.method} has no setting {key}.{hint} It has {', '.join(paths)}.")
    return _with(recipe, paths[name].split("."), _scalar(value) if isinstance(value, str) else value)


def _objective(value: object) -> object:
    """`value` built, if it is a mapping: a short `kind` is looked up in the module of that row of METHODS."""
    if not isinstance(value, Mapping):
        return value
    from ..recipe import Objective

    kinds = dict(METHODS)
    if isinstance(kind := value.get("kind"), str) and kind in METHODS:
        module = METHODS[kind].partition(":")[0]
        for name, found in vars(importlib.import_module(module)).items():
            if isinstance(found, type) and issubclass(found, Objective) and vars(found).get("kind") == kind:
                kinds[kind] = f"{module}:{name}"
    return build(Objective, value, kinds)


def _paths(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every dotted path into nested mappings, `update` before `update.learning_rate`."""
    for name, value in data.items():
        yield prefix + name
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{name}.")


def _with(node: Any, path: Sequence[str], value: object) -> Any:
    """`node` with what lies at `path` in it replaced by `value`, validated on every level."""
    if not path:
        return value
    name, *rest = path
    if isinstance(node, Part) and name == "kind":
        shared = type(node).__bases__[0].model_fields
        return {"kind": value} | {field: getattr(node, field) for field in shared}
    if isinstance(node, Settings):
        return node.replace(**{name: _with(getattr(node, name), rest, value)})
    return {**node, name: _with(node[name], rest, value)}


def _scalar(text: str) -> object:
    """`text` as YAML; unlike PyYAML, `1e-6` is a number and `none` is nothing."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{text!r} is no YAML value: {error}") from error
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return None if value == "none" else value
