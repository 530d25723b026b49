"""Misspelt settings, found by reading the source of the settings: importing it would import torch, for seconds.

What passes here is checked again, exactly, when the recipe is made.
"""

import ast
import importlib.util
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from . import methods
from .errors import SettingsError, did_you_mean
from .methods import terms
from .methods.saved import SUM
from .run import Run
from .settings import Settings

PARTS = {
    "update": "truenorth.optim.hfac",  # and those in the file that it imports
    "references": "truenorth.models.references",
    "schedule": "truenorth.schedule",
    "domains": "truenorth.domains",
    "chase": "truenorth.chase",
    "clients": "truenorth.clients",
}
MERGING = "truenorth.methods.online_merging"


def fields_in(module: str, kind: str = "") -> list[str]:
    """Names of the settings in a file: those of the class of this `kind` or name, or of all classes if none is.

    >>> fields_in("truenorth.methods.exo", "exo_rw")
    ['beta', 'reward_temperature']
    """
    classes = _classes_in(module)
    wanted = [
        n for n, found in classes.items() if kind and kind in (n, _own(found).get("kind")) and not _is_rule(found)
    ]
    names: list[str] = []
    for name in wanted or list(classes):
        names += _fields_of(name, classes)
    return list(dict.fromkeys(names))


def _may_be_settings(node: ast.ClassDef) -> bool:
    """Not of dataclasses, which are decorated, and of typed dictionaries and named tuples."""
    return not node.decorator_list and not {"TypedDict", "NamedTuple"} & set(map(ast.unparse, node.bases))


@lru_cache
def _classes_in(module: str) -> dict[str, ast.ClassDef]:
    """The classes in a file, and in the files beside it that it imports from."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    classes: dict[str, ast.ClassDef] = {}
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            classes |= _classes_in(f"{module.rpartition('.')[0]}.{node.module}")
        elif isinstance(node, ast.ClassDef) and _may_be_settings(node):
            classes[node.name] = node
    return classes


def _fields_of(name: str, classes: Mapping[str, ast.ClassDef]) -> list[str]:
    """Settings of a class, those of its bases first."""
    if name not in classes:  # pydantic's or ours from another floor: without settings
        return []
    inherited = [field for base in classes[name].bases for field in _fields_of(ast.unparse(base), classes)]
    return inherited + [field for field, value in _own(classes[name]).items() if value is None]


def _own(found: ast.ClassDef) -> dict[str, str | None]:
    """Annotated names in a class: None for a setting, the text of its value for a ClassVar."""
    return {
        line.target.id: ast.unparse(line.value or line.target).strip("'")
        if "ClassVar" in ast.unparse(line.annotation)
        else None
        for line in found.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }


def check_recipe(parts: Mapping[str, Any]) -> None:
    """Raise SettingsError for a method, a part or a setting of a part that cannot exist."""
    known = fields_in("truenorth.recipe", "Recipe")
    for name, value in parts.items():
        if name in Run.model_fields:
            raise SettingsError(f"{name} belongs under `run:`, beside method and objective; there it says how to run.")
        if name not in known:
            raise SettingsError(
                f"there is no setting {name} here.{did_you_mean(name, [*known, 'run'])} There are "
                f"{', '.join(known)} and run."
            )
        if isinstance(value, Mapping):
            _check_part(name, value, str(parts.get("method")))


def _check_part(name: str, part: Mapping[str, Any], method: str) -> None:
    """Check the fields of one part; a user's own kind (`module:Class`) is left to the exact check."""
    if name == "references":
        for role, reference in part.items():
            if isinstance(reference, Mapping):
                _check_fields(f"references.{role}", reference, PARTS[name])
    elif name in PARTS:
        _check_fields(name, part, PARTS[name])
    elif name == "objective" and (module := _module_of(str(part.get("kind", method)))):
        _check_fields(name, part, module, str(part.get("kind", method)))


def _check_fields(where: str, part: Mapping[str, Any], module: str, kind: str = "") -> None:
    known = ["kind", *fields_in(module, kind)]
    for name in part:
        if ":" not in str(part.get("kind", "")) and name not in known:
            raise SettingsError(_unknown(f"{where}.{name}", name, known))


def check_key(key: str, method: str) -> None:
    """The same for the key of `--set KEY=VALUE`; a bare key is one of the objective's settings."""
    head, *rest = key.split(".")
    if head in Run.model_fields and not rest:
        raise SettingsError(
            f"{key} is a setting of the run: give it as --{key.replace('_', '-')} or --set run.{key}=..."
        )
    if terms.is_sum(method) and head in (*terms.names_of(method), "parts"):
        if head in methods.METHODS and rest:
            known = ["weight", *fields_in(_module_of(head) or "", head)]
            if rest[0] not in known:
                raise SettingsError(_unknown(key, rest[0], known, of=head))
        return
    parts = fields_in("truenorth.recipe", "Recipe")
    own = fields_in(module, method) if (module := _module_of(method)) else []
    if head not in parts and (not rest or head in own):
        head, rest = "objective", [head, *rest]
    if head == "objective" and terms.is_sum(method):
        if rest[:1] != ["parts"]:
            raise SettingsError(f"{key} is a setting of a part of the sum: say whose, as in {_example(method)}.")
    elif head == "objective" and module:
        if rest and rest[0] not in (*own, *_of_merging()):
            raise SettingsError(_unknown(key, rest[0], [*own, *_of_inner(own)], of=method))
    elif (
        head in PARTS.keys() - {"references"} and rest and rest[0] not in (known := ["kind", *fields_in(PARTS[head])])
    ):
        raise SettingsError(_unknown(key, rest[0], known))
    elif head not in (heads := [*parts, "run"]):
        raise SettingsError(
            f"--set {key}: there is no {head}.{did_you_mean(head, heads)} There are {', '.join(heads)}."
        )


def _of_inner(own: Iterable[str]) -> list[str]:
    """Settings of the loss inside, as it comes, of a method that has one."""
    return [f"inner.{name}" for name in fields_in("truenorth.methods.dpo", "dpo")] if "inner" in own else []


def _of_merging() -> list[str]:
    """Settings of the rules by which an update may merge: their bare names are known, whatever the method."""
    own = [_own(found) for found in _classes_in(MERGING).values() if _is_rule(found)]
    return [*fields_in("truenorth.optim.rule"), *(name for names in own for name in names if names[name] is None)]


def _is_rule(found: ast.ClassDef) -> bool:
    """Whether a class says how an update merges: a method may bring one, and another paper's objective."""
    return "Rule" in map(ast.unparse, found.bases)


def check_run(run: Mapping[str, Any], settings: type[Settings] = Run, prefix: str = "run.") -> None:
    """Raise SettingsError for a name that is no setting of the run, on any level, with the nearest one."""
    for name, value in run.items():
        field = settings.model_fields.get(name)
        if field is None:
            raise SettingsError(_unknown(prefix + name, name, settings.model_fields))
        inner = next(
            (
                part
                for part in (field.annotation, *get_args(field.annotation))
                if isinstance(part, type) and issubclass(part, Settings)
            ),
            None,
        )
        if inner is not None and isinstance(value, Mapping):
            check_run(value, inner, f"{prefix}{name}.")


def _example(method: str) -> str:
    name, module = terms.names_of(method)[0], _module_of(terms.names_of(method)[0])
    return f"{name}.{[*(fields_in(module, name) if module else []), 'weight'][0]}=..."


def _module_of(method: str) -> str | None:
    """The module of one of our methods; None for a user's own, whose file may be anywhere."""
    if method == "sum":
        return SUM.partition(":")[0]
    return methods.METHODS[method].partition(":")[0] if method in methods.METHODS else None


def _unknown(path: str, name: str, known: Iterable[str], *, of: str = "") -> str:
    known = list(known)
    what = f"{of} has no setting {name}" if of else f"there is no setting {path}"
    return f"{what}.{did_you_mean(name, known)} Allowed: {', '.join(known) or 'none'}."
